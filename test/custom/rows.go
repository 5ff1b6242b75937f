package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"physgdb/test/guest"
	"physgdb/test/session"
)

// machine is a dead guest, and what earlier rows found out about it.
type machine struct {
	physgdb session.Physgdb
	guest   *guest.Guest
	traces  []trace // of all tasks, by physgdb
}

// row is one thing that is tried.
type row struct {
	name, about string
	check       func(ctx context.Context, m *machine) cell
}

// rows are the lines of the table.
var rows = []row{
	{"info", "the slide is that of the kernel's line \"Kernel Offset\", the cause of death that of its panic message", checkInfo},
	{"symbols", "every function of System.map, and every sampled line of /proc/kallsyms, is in what `physgdb symbols` writes", checkSymbols},
	{"ps", "every thread of /proc is there, with its name, parent and kind, and no other", checkPS},
	{"bt", "the backtrace of the task that panicked equals the Call Trace", checkBacktrace},
	{"bt all", "every stack is followed to where the task entered the kernel", checkAllBacktraces},
	{"dmesg", "the log equals what came over the serial console", checkLog},
	{"modules", "names and addresses equal /proc/modules", checkModules},
	{"gdb bt", "gdb without a file shows the Call Trace", checkGDBBacktrace},
	{"gdb thread apply all bt", "gdb without a file follows every stack as physgdb does", checkGDBThreads},
	{"gdb ptype", "sizes and offsets in gdb without a file equal those in the vmlinux's DWARF", checkGDBTypes},
}

// command runs physgdb on the guest's RAM alone.
func (m *machine) command(ctx context.Context, command string, args ...string) (*session.Result, error) {
	return m.physgdb.Run(ctx, append([]string{command, m.guest.Source(), "--symbols", "ram"}, args...)...)
}

// refusal returns the cell for a command that failed: absent if it said why.
func refusal(r *session.Result, err error) cell {
	switch {
	case err != nil:
		return cell{failed, err.Error()}
	case strings.TrimSpace(r.Stderr) == "":
		return cell{failed, fmt.Sprintf("exit status %d and no message", r.Status)}
	case strings.Contains(r.Stderr, "panic:"):
		return cell{failed, r.Stderr}
	}
	return cell{absent, r.Stderr}
}

// judged returns passed if there is no difference. A difference that comes with a message is absent, one without is failed.
func judged(r *session.Result, differences []string, pass string) cell {
	if len(differences) == 0 {
		return cell{passed, pass}
	}
	text := strings.Join(differences[:min(len(differences), 3)], "\n")
	if more := len(differences) - 3; more > 0 {
		text += fmt.Sprintf("\nand %d more", more)
	}
	if said := strings.TrimSpace(r.Stderr); said != "" {
		return cell{absent, said + "\n" + text}
	}
	return cell{failed, text}
}

func checkInfo(ctx context.Context, m *machine) cell {
	r, err := m.command(ctx, "info")
	if err != nil || r.Status != 0 {
		return refusal(r, err)
	}
	var differences []string
	for _, want := range []string{
		fmt.Sprintf("slide  %#x", m.guest.Facts.Slide),
		"died of  panicked: " + strings.TrimSpace(m.guest.Facts.PanicMessage),
	} {
		name, value, _ := strings.Cut(want, "  ")
		if got := field(r.Stdout, name); !strings.HasPrefix(got, value) {
			differences = append(differences, fmt.Sprintf("%s is %q, want %q", name, got, value))
		}
	}
	return judged(r, differences, "")
}

// field returns what a line of info says.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, name+"  "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// process is a line of ps --json.
type process struct {
	PID, TID, PPID int
	Comm, Kind     string
}

func checkPS(ctx context.Context, m *machine) cell {
	r, err := m.command(ctx, "ps", "--json")
	if err != nil || r.Status != 0 {
		return refusal(r, err)
	}
	list, err := decode[process](r.Stdout)
	if err != nil {
		return cell{failed, err.Error()}
	}
	found := map[int]process{}
	for _, p := range list {
		if p.Kind != "idle" {
			found[p.TID] = p
		}
	}
	var differences []string
	last := 0
	for _, want := range m.guest.Facts.Threads {
		last = max(last, want.TID)
		got, ok := found[want.TID]
		delete(found, want.TID)
		switch {
		case !ok && strings.HasPrefix(want.Comm, "kworker/"): // these end by themselves
		case !ok:
			differences = append(differences, fmt.Sprintf("%d %s is missing", want.TID, want.Comm))
		case got.PID != want.PID || got.PPID != want.PPID || plain(got.Comm) != plain(want.Comm) ||
			(got.Kind == "kernel") != want.Kernel:
			differences = append(differences, fmt.Sprintf("%+v, want %+v", got, want))
		}
	}
	for tid, p := range found {
		if tid <= last { // later ones were born after /proc was read
			differences = append(differences, fmt.Sprintf("%+v is not in /proc", p))
		}
	}
	return judged(r, differences, fmt.Sprint(len(m.guest.Facts.Threads)))
}

// plain returns the name of a task without what a worker is working at.
func plain(comm string) string {
	if strings.HasPrefix(comm, "kworker/") {
		comm, _, _ = strings.Cut(strings.ReplaceAll(comm, "+", "-"), "-")
	}
	return comm
}

// trace is a line of bt --json.
type trace struct {
	PID, TID, CPU int
	Comm          string
	Panicked      bool
	Frames        []struct{ PC, Function, Module string }
	User          *struct{ RIP string }
	Lost          string
}

// functions returns the names of a trace.
func (t *trace) functions() []string {
	var names []string
	for _, f := range t.Frames {
		names = append(names, f.Function)
	}
	return names
}

// callTrace returns the functions that the kernel printed, the one that made the oops first.
func (m *machine) callTrace() []string {
	names := slices.Clone(m.guest.Facts.CallTrace)
	if rip := m.guest.Facts.OopsRIP; rip != nil {
		names = slices.Insert(names, 0, rip.Function)
	}
	return names
}

// differ returns what is different in two lists of names.
func differ(want, got []string) []string {
	if slices.Equal(want, got) {
		return nil
	}
	return []string{"got  " + strings.Join(got, " "), "want " + strings.Join(want, " ")}
}

func checkBacktrace(ctx context.Context, m *machine) cell {
	r, err := m.command(ctx, "bt", "--json")
	if err != nil || r.Status != 0 {
		return refusal(r, err)
	}
	list, err := decode[trace](r.Stdout)
	if err != nil {
		return cell{failed, err.Error()}
	}
	// Where it is not known which CPU panicked there is a trace of each.
	i := slices.IndexFunc(list, func(t trace) bool { return t.TID == m.guest.Facts.PanicPID })
	if i < 0 {
		return cell{failed, fmt.Sprintf("no trace of the task that panicked among %d", len(list))}
	}
	differences := differ(m.callTrace(), list[i].functions())
	if list[i].Lost != "" {
		r.Stderr += list[i].Lost
	}
	return judged(r, differences, fmt.Sprintf("%d frames", len(list[i].Frames)))
}

func checkAllBacktraces(ctx context.Context, m *machine) cell {
	r, err := m.command(ctx, "bt", "--json", "all")
	if err != nil || r.Status != 0 {
		return refusal(r, err)
	}
	if m.traces, err = decode[trace](r.Stdout); err != nil {
		return cell{failed, err.Error()}
	}
	var differences []string
	for _, t := range m.traces {
		names := t.functions()
		switch end := names[max(0, len(names)-1):]; {
		case t.Lost != "":
			differences = append(differences, fmt.Sprintf("%d %s: %s", t.TID, t.Comm, t.Lost))
		case len(end) == 0:
			differences = append(differences, fmt.Sprintf("%d %s: no frames", t.TID, t.Comm))
		case t.User == nil && !slices.Contains(bottoms, end[0]):
			differences = append(differences, fmt.Sprintf("%d %s: ends in %s", t.TID, t.Comm, end[0]))
		}
	}
	return judged(r, differences, fmt.Sprintf("%d tasks", len(m.traces)))
}

// bottoms are the functions in which a stack of the kernel's own begins (arch/x86/entry, arch/x86/kernel/head_64.S).
var bottoms = []string{"ret_from_fork_asm", "ret_from_fork", "secondary_startup_64_no_verify", "common_startup_64"}

func checkLog(ctx context.Context, m *machine) cell {
	r, err := m.command(ctx, "dmesg")
	if err != nil || r.Status != 0 {
		return refusal(r, err)
	}
	printed, err := m.guest.KernelLog()
	if err != nil {
		return cell{failed, err.Error()}
	}
	got := strings.Split(strings.TrimSpace(r.Stdout), "\n")
	var differences []string
	for i := range max(len(printed), len(got)) {
		want, line := "", ""
		if i < len(printed) {
			l := printed[i]
			want = fmt.Sprintf("[%5d.%06d] %s", l.Time/1e9, l.Time%1e9/1e3, l.Text)
		}
		if i < len(got) {
			line = got[i]
		}
		if strings.TrimRight(want, " ") != strings.TrimRight(line, " ") {
			differences = append(differences, fmt.Sprintf("line %d is %q, printed was %q", i+1, line, want))
		}
	}
	return judged(r, differences, fmt.Sprintf("%d lines", len(printed)))
}

func checkModules(ctx context.Context, m *machine) cell {
	r, err := m.command(ctx, "modules", "--json")
	if err != nil || r.Status != 0 {
		return refusal(r, err)
	}
	list, err := decode[struct{ Name, Base string }](r.Stdout)
	if err != nil {
		return cell{failed, err.Error()}
	}
	var want, got []string
	for line := range strings.Lines(m.guest.Facts.Modules) {
		f := strings.Fields(line) // name size refs users state address
		want = append(want, f[0]+" "+f[5])
	}
	for _, module := range list {
		got = append(got, module.Name+" "+module.Base)
	}
	return judged(r, differ(want, got), fmt.Sprint(len(got)))
}
