package host

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"physgdb/symbols/linux/klog"

	"physgdb/internal/plain"
	"physgdb/symbols"
	"physgdb/symbols/linux"
)

// WriteReport writes what a kernel developer asks first about a machine that died, to be pasted into a bug report. What
// cannot be found out says so in its place.
func (m *Machine) WriteReport(ctx context.Context, w io.Writer) error {
	if err := m.needSymbols("report"); err != nil {
		return err
	}
	r := &report{m: m}
	r.readLog(ctx)
	out := bufio.NewWriter(w)
	for _, part := range []func(context.Context, io.Writer){r.facts, r.modules, r.traces, r.messages} {
		part(ctx, out)
	}
	return cmp.Or(out.Flush(), ctx.Err())
}

// report is a report that is being written.
type report struct {
	m      *Machine
	log    []klog.Record // its end
	logErr error         // why there is none, or not all
}

// facts says which kernel on which host, and how it ended.
func (r *report) facts(ctx context.Context, w io.Writer) {
	m := r.m
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, fact := range []struct {
		name string
		find func(context.Context) (string, error)
	}{
		{"kernel", m.bannerText},
		{"build-id", func(context.Context) (string, error) { return fmt.Sprintf("%x", m.Kernel.Symbols.BuildID), nil }},
		{"host", m.nodeName},
		{"command line", m.commandLine},
		{"died", m.deathText},
		{"up", r.uptimeText},
		{"taint", m.taintText},
		{"KASLR", func(context.Context) (string, error) {
			return fmt.Sprintf("%#x from %#x", m.Kernel.Slide, m.Kernel.Text-m.Kernel.Slide), nil
		}},
	} {
		text, err := fact.find(ctx)
		if err != nil {
			text = unknown(err)
		}
		fmt.Fprintf(t, "%s\t%s\n", fact.name, plain.Line(text))
	}
	t.Flush()
}

// unknown says in a line why something is not known.
func unknown(err error) string { return "not known: " + plain.Line(err.Error()) }

func (m *Machine) bannerText(ctx context.Context) (string, error) {
	banner := m.Kernel.Banner(ctx)
	if banner == "" {
		return "", errors.New("linux_banner cannot be read")
	}
	return banner, nil
}

// nodeName returns the name that the host gave itself.
func (m *Machine) nodeName(ctx context.Context) (string, error) {
	types, err := m.Kernel.Types(ctx)
	if err != nil {
		return "", err
	}
	f, err := types.Field("uts_namespace", "name.nodename")
	if err != nil {
		return "", err
	}
	addr, ok := m.Kernel.Addr("init_uts_ns")
	if !ok {
		return "", errors.New("the kernel has no symbol init_uts_ns")
	}
	return m.text(ctx, addr+f.Offset, int(min(f.Size, 256)))
}

// commandLine returns what the boot loader passed to the kernel.
func (m *Machine) commandLine(ctx context.Context) (string, error) { return m.Kernel.CommandLine(ctx) }

// text reads a string of at most so many bytes.
func (m *Machine) text(ctx context.Context, addr uint64, most int) (string, error) {
	p := make([]byte, most)
	n, err := m.Kernel.Space.ReadMemory(ctx, addr, p)
	if end := bytes.IndexByte(p[:n], 0); end >= 0 {
		return string(p[:end]), nil
	}
	return string(p[:n]), err
}

func (m *Machine) deathText(ctx context.Context) (string, error) {
	death, err := m.Kernel.Death(ctx, klog.Newest)
	if err != nil {
		return "", err
	}
	if death.CPU == nil {
		return "no panic: it was stopped while it ran", nil
	}
	text := fmt.Sprintf("%s, on CPU %d", m.obituary(ctx), death.CPU.ID)
	if death.Oopses > 0 {
		text += fmt.Sprintf("; oopses: %d", death.Oopses)
	}
	return text, nil
}

// uptimeText tells how long the machine had been up when it panicked, and when that was by its own clock.
func (r *report) uptimeText(ctx context.Context) (string, error) {
	var up time.Duration
	when := "when it panicked"
	i := slices.IndexFunc(r.log, klog.Record.IsPanic)
	if i >= 0 {
		up = r.log[i].Time
	} else {
		var err error
		if up, err = r.m.Kernel.Uptime(ctx); err != nil {
			return "", err
		}
		when = "at its last timer tick"
	}
	text := fmt.Sprintf("%v %s", up.Round(time.Millisecond), when)
	if boot, err := r.m.Kernel.BootTime(ctx); err == nil {
		text += ", " + boot.Add(up).UTC().Format("2006-01-02 15:04:05 UTC") + " by its clock"
	}
	return text, nil
}

func (m *Machine) taintText(ctx context.Context) (string, error) {
	taint, err := m.Kernel.Taint(ctx)
	if err != nil {
		return "", err
	}
	return taint.String(), nil
}

// modules names the modules in one paragraph, as the kernel's own reports do.
func (r *report) modules(ctx context.Context, w io.Writer) {
	list, err := r.m.Kernel.Modules(ctx)
	if err != nil {
		fmt.Fprintf(w, "\nModules linked in: %s\n", unknown(err))
		return
	}
	names := make([]string, len(list.All))
	for i, md := range list.All {
		names[i] = plain.Line(md.Name)
		if md.Taint != 0 {
			names[i] += "(" + md.Taint.String() + ")"
		}
	}
	fmt.Fprintf(w, "\nModules linked in: %s\n", strings.Join(names, " "))
	if err := listDamage("modules", list.Damage); err != nil {
		fmt.Fprintln(w, plain.Line(err.Error()))
	}
}

// traces shows what the CPUs did, and which tasks were stuck.
func (r *report) traces(ctx context.Context, w io.Writer) {
	list, err := r.m.Kernel.Tasks(ctx)
	var tracer *tracer
	if err == nil {
		tracer, err = r.m.newTracer(ctx, true)
	}
	if err != nil {
		fmt.Fprintf(w, "\nTasks: %s\n", unknown(err))
		return
	}
	if tracer.dead != nil {
		fmt.Fprintf(w, "\nRegisters of the task that panicked:\n")
		r.m.writeRegisters(ctx, w, tracer.dead)
	}
	running, _ := tracer.group(list, "cpus")
	tracer.report(ctx, w, "Tasks on the CPUs", running)
	blocked, _ := tracer.group(list, "blocked")
	tracer.report(ctx, w, "Blocked tasks", blocked)
	if err := listDamage("tasks", list.Damage); err != nil {
		fmt.Fprintln(w, plain.Line(err.Error()))
	}
}

// mostReported bounds how many backtraces of one kind a report shows.
const mostReported = 64

func (tr *tracer) report(ctx context.Context, w io.Writer, what string, tasks []*linux.Task) {
	fmt.Fprintf(w, "\n%s: %d\n", what, len(tasks))
	for i, t := range tasks {
		if i == mostReported {
			fmt.Fprintf(w, "\n… and %d more\n", len(tasks)-i)
			return
		}
		b, err := tr.trace(ctx, t)
		if err != nil {
			return // ctx
		}
		fmt.Fprintln(w)
		b.write(w)
	}
}

// writeRegisters writes registers as the kernel's own reports do (__show_regs, arch/x86/kernel/process_64.c).
func (m *Machine) writeRegisters(ctx context.Context, w io.Writer, t *linux.Task) {
	r, err := m.Kernel.Registers(ctx, t)
	if err != nil {
		fmt.Fprintln(w, unknown(err))
		return
	}
	cs, ss, flags := "----", "----", "--------"
	if r.HasFlags {
		cs, ss, flags = fmt.Sprintf("%04x", r.CS), fmt.Sprintf("%04x", r.SS), fmt.Sprintf("%08x", r.Flags)
	}
	fmt.Fprintf(w, "RIP: %s:%s\n", cs, m.Kernel.NameAt(ctx, r.PC()))
	fmt.Fprintf(w, "RSP: %s:%s EFLAGS: %s\n", ss, word(r, symbols.RSP), flags)
	for _, row := range [][]symbols.Reg{
		{symbols.RAX, symbols.RBX, symbols.RCX}, {symbols.RDX, symbols.RSI, symbols.RDI}, {symbols.RBP, symbols.R8, symbols.R9},
		{symbols.R10, symbols.R11, symbols.R12}, {symbols.R13, symbols.R14, symbols.R15},
	} {
		cells := make([]string, len(row))
		for i, reg := range row {
			cells[i] = kernelName(reg) + ": " + word(r, reg)
		}
		fmt.Fprintln(w, strings.Join(cells, " "))
	}
}

// kernelName is what the kernel's reports call a register: RAX, R08.
func kernelName(reg symbols.Reg) string {
	name := strings.ToUpper(registerNames[reg])
	if len(name) == 2 {
		return "R0" + name[1:]
	}
	return name
}

// word writes a register, or as many dashes.
func word(r *linux.Registers, reg symbols.Reg) string {
	v, ok := r.Get(reg)
	if !ok {
		return strings.Repeat("-", 16)
	}
	return fmt.Sprintf("%016x", v)
}

// How much of the log a report shows: its newest messages, and more of them if that takes it back to the first oops.
const (
	newestReported = 50
	mostMessages   = 300
)

// readLog reads the end of the log.
func (r *report) readLog(ctx context.Context) {
	log, err := klog.Read(ctx, r.m.Kernel, mostMessages)
	if err != nil {
		r.logErr = err
		return
	}
	r.log, r.logErr = log.Records, listDamage("log", log.Damage)
}

// messages shows the end of the log.
func (r *report) messages(_ context.Context, w io.Writer) {
	if r.log == nil && r.logErr != nil {
		fmt.Fprintf(w, "\nLog: %s\n", unknown(r.logErr))
		return
	}
	shown := r.log[lastWords(r.log):]
	fmt.Fprintf(w, "\nLog, its newest %d messages:\n", len(shown))
	var format klog.Format
	for i := range shown {
		io.WriteString(w, format.Format(&shown[i]))
	}
	if r.logErr != nil {
		fmt.Fprintln(w, plain.Line(r.logErr.Error()))
	}
}

// oopsHeader is the line by which the kernel counts its oopses: "Oops: 0002 [#1] PREEMPT SMP" (__die_header(),
// arch/x86/kernel/dumpstack.c). What it was about stands in a few messages before.
var oopsHeader = regexp.MustCompile(`: [0-9a-f]{4} \[#1\]`)

// beforeOops is how many messages that is.
const beforeOops = 8

// lastWords returns the index of the first message that belongs into a report.
func lastWords(log []klog.Record) int {
	start := max(0, len(log)-newestReported)
	oops := slices.IndexFunc(log, func(l klog.Record) bool { return oopsHeader.MatchString(l.Text) })
	if oops < 0 {
		return start
	}
	return min(start, max(0, oops-beforeOops))
}
