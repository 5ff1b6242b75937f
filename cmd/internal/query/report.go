package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"physgdb/cmd/internal/machine"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/klog"
	"physgdb/symbols/linux/module"
)

// Report is what a kernel developer asks first about a machine that panicked. Each part that is
// missing or incomplete says why.
type Report struct {
	Facts         []Fact         `json:"facts"`
	Modules       []ReportModule `json:"modules"`
	NoModules     string         `json:"no_modules,omitempty"` // why there are none
	ModulesDamage string         `json:"modules_damage,omitempty"`
	// Registers are those of the task that panicked.
	Registers   *ReportRegisters `json:"registers,omitempty"`
	OnCPUs      Backtraced       `json:"on_cpus"`            // the tasks on the CPUs
	Blocked     Backtraced       `json:"blocked"`            // blocked tasks
	NoTasks     string           `json:"no_tasks,omitempty"` // why there are none
	TasksDamage string           `json:"tasks_damage,omitempty"`
	Log         []Message        `json:"log"`              // its end
	NoLog       string           `json:"no_log,omitempty"` // why there is none
	LogDamage   string           `json:"log_damage,omitempty"`
}

// Fact is one fact about the machine.
type Fact struct {
	Name    string `json:"name"`
	Text    string `json:"text,omitempty"`
	Unknown string `json:"unknown,omitempty"` // why Text is not known
}

// ReportModule is a module in a report.
type ReportModule struct {
	Name  string `json:"name"`
	Taint string `json:"taint,omitempty"` // letters, as in /proc/modules
}

// ReportRegisters are the registers of a task.
type ReportRegisters struct {
	Function string             `json:"function,omitempty"` // at RIP, with the offset in it
	CS       Address            `json:"cs,omitempty"`
	SS       Address            `json:"ss,omitempty"`
	Flags    *Address           `json:"eflags,omitempty"` // with CS and SS, if they are known
	All      map[string]Address `json:"registers,omitempty"`
	Unknown  string             `json:"unknown,omitempty"` // why they are not known
}

// Backtraced is the backtraces of tasks of one kind.
type Backtraced struct {
	Tasks      int          `json:"tasks"`      // how many there are
	Backtraces []*Backtrace `json:"backtraces"` // of the first ones
}

// ReadReport makes a report. The error is ctx's: the report then ends early.
func ReadReport(ctx context.Context, m *machine.Machine) (*Report, error) {
	r := &Report{
		Modules: []ReportModule{}, OnCPUs: Backtraced{Backtraces: []*Backtrace{}}, Blocked: Backtraced{Backtraces: []*Backtrace{}},
		Log: []Message{},
	}
	log := r.lastMessages(ctx, m)
	r.addFacts(ctx, m, log)
	r.addModules(ctx, m)
	r.addTasks(ctx, m)
	for _, l := range log[firstReported(log):] {
		r.Log = append(r.Log, newMessage(&l, time.Time{}))
	}
	return r, ctx.Err()
}

// addFacts adds which kernel it was on which host, and how it ended.
func (r *Report) addFacts(ctx context.Context, m *machine.Machine, log []klog.Record) {
	for _, fact := range []struct {
		name string
		find func(context.Context, *machine.Machine) (string, error)
	}{
		{"kernel", Banner},
		{"build-id", func(context.Context, *machine.Machine) (string, error) {
			return fmt.Sprintf("%x", m.Kernel.Symbols.BuildID), nil
		}},
		{"host", nodeName},
		{"command line", func(context.Context, *machine.Machine) (string, error) { return m.Kernel.CommandLine(ctx) }},
		{"died", deathText},
		{"up", func(context.Context, *machine.Machine) (string, error) { return uptimeText(ctx, m, log) }},
		{"taint", taintText},
		{"KASLR", func(context.Context, *machine.Machine) (string, error) {
			return fmt.Sprintf("%#x from %#x", m.Kernel.Slide, m.Kernel.Text-m.Kernel.Slide), nil
		}},
	} {
		f := Fact{Name: fact.name}
		text, err := fact.find(ctx, m)
		if err != nil {
			f.Unknown = err.Error()
		} else {
			f.Text = text
		}
		r.Facts = append(r.Facts, f)
	}
}

// Banner returns the kernel's version, as /proc/version has it.
func Banner(ctx context.Context, m *machine.Machine) (string, error) {
	banner := m.Kernel.Banner(ctx)
	if banner == "" {
		return "", errors.New("linux_banner cannot be read")
	}
	return banner, nil
}

// nodeName returns the machine's host name.
func nodeName(ctx context.Context, m *machine.Machine) (string, error) {
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
	return readText(ctx, m, addr+f.Offset, int(min(f.Size, 256)))
}

// readText reads a string of at most size bytes at a virtual address of the kernel.
func readText(ctx context.Context, m *machine.Machine, addr uint64, size int) (string, error) {
	p := make([]byte, size)
	n, err := m.Kernel.Space.ReadMemory(ctx, addr, p)
	if end := bytes.IndexByte(p[:n], 0); end >= 0 {
		return string(p[:end]), nil
	}
	return string(p[:n]), err
}

func deathText(ctx context.Context, m *machine.Machine) (string, error) {
	death, err := m.Kernel.Death(ctx, klog.Newest)
	if err != nil {
		return "", err
	}
	if death.CPU == nil {
		return "no panic: the machine was running when it was stopped", nil
	}
	text := fmt.Sprintf("%s, on CPU %d", PanicSummary(ctx, m), death.CPU.ID)
	if death.Oopses > 0 {
		text += fmt.Sprintf("; oopses: %d", death.Oopses)
	}
	return text, nil
}

// uptimeText returns how long the machine had been up when it panicked, and the time of that by its
// clock.
func uptimeText(ctx context.Context, m *machine.Machine, log []klog.Record) (string, error) {
	var up time.Duration
	when := "when it panicked"
	i := slices.IndexFunc(log, klog.Record.IsPanic)
	if i >= 0 {
		up = log[i].Time
	} else {
		var err error
		if up, err = m.Kernel.Uptime(ctx); err != nil {
			return "", err
		}
		when = "at its last timer tick"
	}
	text := fmt.Sprintf("%v %s", up.Round(time.Millisecond), when)
	if boot, err := m.Kernel.BootTime(ctx); err == nil {
		text += ", " + boot.Add(up).UTC().Format("2006-01-02 15:04:05 UTC") + " by its clock"
	}
	return text, nil
}

func taintText(ctx context.Context, m *machine.Machine) (string, error) {
	taint, err := m.Kernel.Taint(ctx)
	if err != nil {
		return "", err
	}
	return taint.String(), nil
}

func (r *Report) addModules(ctx context.Context, m *machine.Machine) {
	list, err := module.Read(ctx, m.Kernel)
	if err != nil {
		r.NoModules = err.Error()
		return
	}
	for _, md := range list.All {
		module := ReportModule{Name: md.Name}
		if md.Taint != 0 {
			module.Taint = md.Taint.String()
		}
		r.Modules = append(r.Modules, module)
	}
	r.ModulesDamage = damageText("modules", list.Damage)
}

// addTasks adds what the CPUs did, and which tasks were blocked.
func (r *Report) addTasks(ctx context.Context, m *machine.Machine) {
	list, err := m.Kernel.Tasks(ctx)
	var tracer *tracer
	if err == nil {
		tracer, err = newTracer(ctx, m, true)
	}
	if err != nil {
		r.NoTasks = err.Error()
		return
	}
	if tracer.dead != nil {
		r.Registers = newReportRegisters(ctx, m, tracer.dead)
	}
	running, _ := tracer.group(list, "cpus")
	r.OnCPUs = tracer.backtraced(ctx, running)
	blocked, _ := tracer.group(list, "blocked")
	r.Blocked = tracer.backtraced(ctx, blocked)
	r.TasksDamage = damageText("tasks", list.Damage)
}

// maxReported bounds how many backtraces of one kind a report has.
const maxReported = 64

func (tr *tracer) backtraced(ctx context.Context, tasks []*linux.Task) Backtraced {
	b := Backtraced{Tasks: len(tasks), Backtraces: []*Backtrace{}}
	for _, t := range tasks[:min(len(tasks), maxReported)] {
		trace, err := tr.trace(ctx, t)
		if err != nil {
			break // ctx
		}
		b.Backtraces = append(b.Backtraces, trace)
	}
	return b
}

func newReportRegisters(ctx context.Context, m *machine.Machine, t *linux.Task) *ReportRegisters {
	r, err := m.Unwinder.Registers(ctx, t)
	if err != nil {
		return &ReportRegisters{Unknown: err.Error()}
	}
	regs := &ReportRegisters{Function: m.Kernel.NameAt(ctx, r.PC()), All: registerMap(r)}
	if r.HasFlags {
		flags := Address(r.Flags)
		regs.CS, regs.SS, regs.Flags = Address(r.CS), Address(r.SS), &flags
	}
	return regs
}

// How much of the log a report has: its newest messages, and more of them if that includes the
// first oops.
const (
	newestReported = 50
	maxMessages    = 300
)

// lastMessages reads the end of the log.
func (r *Report) lastMessages(ctx context.Context, m *machine.Machine) []klog.Record {
	log, err := klog.Read(ctx, m.Kernel, maxMessages)
	if err != nil {
		r.NoLog = err.Error()
		return nil
	}
	r.LogDamage = damageText("log", log.Damage)
	return log.Records
}

// damageText returns the text of a [machine.DamageError], or "".
func damageText(what string, places []error) string {
	if err := machine.NewDamageError(what, places); err != nil {
		return err.Error()
	}
	return ""
}

// oopsHeader is the line by which the kernel counts its oopses: "Oops: 0002 [#1] PREEMPT SMP"
// (__die_header(), arch/x86/kernel/dumpstack.c). A few messages before it say what happened.
var oopsHeader = regexp.MustCompile(`: [0-9a-f]{4} \[#1\]`)

// beforeOops is how many messages that is.
const beforeOops = 8

// firstReported returns the index of the first message that a report has.
func firstReported(log []klog.Record) int {
	start := max(0, len(log)-newestReported)
	oops := slices.IndexFunc(log, func(l klog.Record) bool { return oopsHeader.MatchString(l.Text) })
	if oops < 0 {
		return start
	}
	return min(start, max(0, oops-beforeOops))
}
