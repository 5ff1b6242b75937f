package linux

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"physgdb/symbols/linux/kmem"
)

// Death is how a kernel died.
type Death struct {
	CPU     *CPU   // that panicked, or nil if none did: the machine was stopped while it ran
	Task    *Task  // that it ran then, or nil if that is not known
	Message string // what panic() was told, or "" if the log does not have it any more
	Cause   string // the first line of the oops that led to it, or "" if there was none
	Before  string // the first line of an oops of another task before that, which may have to do with it, or ""
	Oopses  int    // how often the kernel had caught itself at a fault

	kmem.Timeouts
}

// noCPU is the panic_cpu of a kernel that has not panicked (PANIC_CPU_INVALID, include/linux/panic.h).
const noCPU = 0xffff_ffff

// Death returns how the kernel died. The messages of the panic and of the oops are found by log.
func (k *Kernel) Death(ctx context.Context, log LogReader) (*Death, error) {
	return k.death.Get(ctx, func(ctx context.Context) (*Death, error) { return k.readDeath(ctx, log) })
}

func (k *Kernel) readDeath(ctx context.Context, log LogReader) (*Death, error) {
	d := &Death{}
	id, err := k.ReadSymbol(ctx, "panic_cpu", 4)
	if err != nil {
		return nil, err
	}
	oopses, err := k.ReadSymbol(ctx, "die_counter", 4)
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	d.Note(err)
	d.Oopses = int(oopses)
	if id == noCPU {
		return d, nil
	}
	if err := k.findDead(ctx, d, int(id)); err != nil {
		return nil, err
	}
	return d, k.readLastWords(ctx, d, log)
}

// findDead finds the CPU that panicked, and its task.
func (k *Kernel) findDead(ctx context.Context, d *Death, id int) error {
	cpus, err := k.cpus.Get(ctx, k.readCPUs)
	if err != nil {
		return err
	}
	d.Include(cpus.Timeouts)
	for i := range cpus.all {
		if cpus.all[i].ID == id {
			d.CPU = &cpus.all[i]
		}
	}
	if d.CPU == nil {
		return fmt.Errorf("panic_cpu is %d, and there is no such CPU: damaged memory", id)
	}
	d.Task, err = k.TaskAt(ctx, d.CPU.Current)
	if err != nil {
		d.Note(err)
		return ctx.Err() // its memory is damaged: the rest is worth telling
	}
	return nil
}

// LogLine is a message of the kernel's log, as far as [Kernel.Death] uses it.
type LogLine struct {
	Caller uint32 // the same for the messages of one task or, in interrupts, of one CPU
	Text   string
}

// LogReader reads the newest messages of a kernel's log, oldest first. It may return both messages and
// an error, which then says why some are missing.
type LogReader func(ctx context.Context, k *Kernel, newest int) ([]LogLine, error)

// PanicPrefix is what panic() logs before its message (kernel/panic.c). In 5.10 with PREEMPT_RT the message is a record
// of its own.
const PanicPrefix = "Kernel panic - not syncing:"

// oopsPrefixes are how the first line of an oops begins that says what is wrong (arch/x86/mm/fault.c, lib/bug.c,
// arch/x86/kernel/traps.c).
var oopsPrefixes = []string{"BUG: ", "kernel BUG at ", "Oops: ", "general protection fault", "divide error", "stack guard page"}

// readLastWords looks for what panic() was told, and for the oops before it, in the newest lines of the log.
func (k *Kernel) readLastWords(ctx context.Context, d *Death, log LogReader) error {
	const newest = 512 // lines: a panic prints its message, then a backtrace, and sometimes the state of all CPUs
	lines, err := log(ctx, k, newest)
	d.Note(err)
	d.findLastWords(lines)
	return ctx.Err() // without the log, the rest is still of use
}

// findLastWords finds in the log what panic() was told, and the oops before it. Who panics because of an oops is the one that
// had it: a task, or an interrupt on the same CPU.
func (d *Death) findLastWords(lines []LogLine) {
	last := slices.IndexFunc(lines, func(l LogLine) bool { return strings.HasPrefix(l.Text, PanicPrefix) })
	if last < 0 {
		return
	}
	d.Message = strings.TrimSpace(strings.TrimPrefix(lines[last].Text, PanicPrefix))
	if d.Message == "" && last+1 < len(lines) && lines[last+1].Caller == lines[last].Caller {
		d.Message = lines[last+1].Text
	}
	if d.Oopses == 0 {
		return
	}
	for _, r := range lines[:last] {
		first := &d.Before
		if r.Caller == lines[last].Caller {
			first = &d.Cause
		}
		isOops := slices.ContainsFunc(oopsPrefixes, func(p string) bool { return strings.HasPrefix(r.Text, p) })
		if isOops && *first == "" {
			*first, _, _ = strings.Cut(r.Text, "\n")
		}
	}
}

// Taint is the kernel's tainted_mask: what has happened that makes a developer distrust its state.
type Taint uint64

// Taint returns what had happened before the kernel died, or since.
func (k *Kernel) Taint(ctx context.Context) (Taint, error) {
	mask, err := k.ReadSymbol(ctx, "tainted_mask", 8)
	return Taint(mask), err
}

// taintLetters name the bits of a Taint (taint_flags, kernel/panic.c).
const taintLetters = "PFSRMBUDAWCIOELKXTNJ"

// String lists the letters of what is set, or returns "not tainted".
func (t Taint) String() string {
	var set []byte
	for i := range taintLetters {
		if t>>i&1 != 0 {
			set = append(set, taintLetters[i])
		}
	}
	if len(set) == 0 {
		return "not tainted"
	}
	return string(set)
}
