package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"physgdb/test/guest"
	"physgdb/test/session"
	"physgdb/test/verify"
)

// machine is a dead guest, with the results of earlier rows.
type machine struct {
	physgdb session.Physgdb
	guest   *guest.Guest
	traces  []verify.Trace // of all tasks, by physgdb
	gdb     []session.Step // of a gdb without a file
	stub    session.Result // that served that gdb
}

// row is one line of the table.
type row struct {
	name, about string
	check       func(ctx context.Context, m *machine) cell
}

// rows are the lines of the table.
var rows = []row{
	{"info", "the slide is that of the line \"Kernel Offset\", the cause of death that of the panic message", checkInfo},
	{"symbols", "every function of System.map, and every sampled line of /proc/kallsyms, is in what `physgdb symbols` writes; " +
		"of how many names of System.map", checkSymbols},
	{"ps", "every thread of /proc is there, with its name, parent and kind, and no other", checkPS},
	{"bt", "the backtrace of the task that panicked, in a module, equals the Call Trace", checkBacktrace},
	{"bt all", "every stack is followed to where the task entered the kernel, or its first function", checkAllBacktraces},
	{"dmesg", "the log equals what came over the serial console", checkLog},
	{"modules", "names and addresses equal /proc/modules and /sys/module", checkModules},
	{"gdb bt", "gdb without a file shows the Call Trace", checkGDBBacktrace},
	{"gdb thread apply all bt", "gdb without a file follows every stack as physgdb does", checkGDBStacks},
	{"gdb types", "sizes and offsets in gdb without a file equal those in the vmlinux's DWARF", checkGDBTypes},
}

// command runs physgdb on the guest's RAM alone. It returns the cell of a command that failed
// without any output.
func (m *machine) command(ctx context.Context, args ...string) (*session.Result, *cell) {
	r, err := m.physgdb.Run(ctx, args...)
	switch {
	case err != nil:
		return r, &cell{failed, err.Error()}
	case strings.Contains(r.Stderr, "goroutine "):
		return r, &cell{failed, r.Stderr}
	case r.Status != 0 && r.Stdout == "":
		c := judged(r, fmt.Errorf("exit status %d", r.Status), "")
		return r, &c
	}
	return r, nil
}

// onRAM runs a command on the guest's RAM.
func (m *machine) onRAM(ctx context.Context, command string, args ...string) (*session.Result, *cell) {
	return m.command(ctx, append([]string{command, m.guest.Source(), "--symbols", "ram"}, args...)...)
}

// stamp matches the start of a line of physgdb's log.
var stamp = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\S+ `)

// judged returns passed if there is no difference, absent for a difference with a message of
// physgdb, and failed for one without.
func judged(r *session.Result, difference error, pass string) cell {
	if difference == nil {
		return cell{passed, pass}
	}
	const most = 12 // lines of the difference
	text := strings.Split(strings.TrimSpace(difference.Error()), "\n")
	if len(text) > most {
		text = append(text[:most], fmt.Sprintf("… and %d lines more", len(text)-most))
	}
	said := stamp.ReplaceAllString(strings.TrimSpace(r.Stderr), "")
	if said == "" {
		return cell{failed, strings.Join(text, "\n")}
	}
	return cell{absent, said + "\n" + strings.Join(text, "\n")}
}

func checkInfo(ctx context.Context, m *machine) cell {
	r, wrong := m.onRAM(ctx, "info")
	if wrong != nil {
		return *wrong
	}
	for name, want := range map[string]string{
		"slide":   fmt.Sprintf("%#x", m.guest.Facts.Slide),
		"died of": "panicked: " + strings.TrimSpace(m.guest.Facts.PanicMessage),
	} {
		if got := verify.Row(r.Stdout, name); !strings.HasPrefix(got, want) {
			return judged(r, fmt.Errorf("%s is %q, the guest's is %q", name, got, want), "")
		}
	}
	return cell{passed, ""}
}

func checkPS(ctx context.Context, m *machine) cell {
	r, wrong := m.onRAM(ctx, "ps", "--json")
	if wrong != nil {
		return *wrong
	}
	return judged(r, verify.Tasks(&m.guest.Facts, r.Stdout), fmt.Sprintf("%d threads", len(m.guest.Facts.Threads)))
}

func checkBacktrace(ctx context.Context, m *machine) cell {
	r, wrong := m.onRAM(ctx, "bt", "--json")
	if wrong != nil {
		return *wrong
	}
	pass := fmt.Sprintf("%d frames", len(verify.CallTrace(&m.guest.Facts)))
	return judged(r, verify.PanicBacktrace(&m.guest.Facts, r.Stdout), pass)
}

// checkAllBacktraces also stores the traces of all tasks for other rows.
func checkAllBacktraces(ctx context.Context, m *machine) cell {
	r, wrong := m.onRAM(ctx, "bt", "--json", "all")
	if wrong != nil {
		return *wrong
	}
	var err error
	if m.traces, err = verify.JSONLines[verify.Trace](r.Stdout); err != nil {
		return cell{failed, err.Error()}
	}
	for i := range m.traces {
		t := &m.traces[i]
		if t.Lost != "" || len(t.Frames) == 0 {
			r.Stderr += t.Lost
			return judged(r, fmt.Errorf("%d %s: %d frames", t.TID, t.Comm, len(t.Frames)), "")
		}
		if last := t.Frames[len(t.Frames)-1].Function; t.User == nil && !firstFunction[last] {
			return judged(r, fmt.Errorf("%d %s ends in %s", t.TID, t.Comm, last), "")
		}
	}
	return cell{passed, fmt.Sprintf("%d tasks", len(m.traces))}
}

// firstFunction has the first functions of kernel stacks
// (arch/x86/entry/entry_64.S, arch/x86/kernel/head_64.S).
var firstFunction = map[string]bool{
	"ret_from_fork_asm": true, "ret_from_fork": true, "common_startup_64": true, "secondary_startup_64_no_verify": true,
}

func checkLog(ctx context.Context, m *machine) cell {
	r, wrong := m.onRAM(ctx, "dmesg")
	if wrong != nil {
		return *wrong
	}
	printed, err := m.guest.KernelLog()
	if err != nil {
		return cell{failed, err.Error()}
	}
	return judged(r, verify.Dmesg(printed, r.Stdout), fmt.Sprintf("%d lines", len(printed)))
}

func checkModules(ctx context.Context, m *machine) cell {
	r, wrong := m.onRAM(ctx, "modules", "--json")
	if wrong != nil {
		return *wrong
	}
	return judged(r, verify.Modules(&m.guest.Facts, r.Stdout), fmt.Sprint(strings.Count(r.Stdout, "\n")))
}
