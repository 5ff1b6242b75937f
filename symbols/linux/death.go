package linux

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"physgdb/symbols/linux/kmem"
)

// Death describes how a kernel died.
type Death struct {
	CPU     *CPU   // that panicked; nil if none did and the machine was stopped
	Task    *Task  // that it ran; nil if not known
	Message string // the message of panic(), or "" if it is not in the log
	Cause   string // the first line of the oops that led to the panic, or ""
	Before  string // the first line of an earlier oops of another task, or ""
	Oopses  int    // number of oopses

	kmem.Timeouts
}

// NoCPU is the panic_cpu of a kernel that has not panicked (PANIC_CPU_INVALID,
// include/linux/panic.h).
const NoCPU = 0xffff_ffff

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
	if id == NoCPU {
		return d, nil
	}
	if err := k.findDead(ctx, d, int(id)); err != nil {
		return nil, err
	}
	return d, k.readMessages(ctx, d, log)
}

// findDead finds the CPU that panicked and its task.
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
		return ctx.Err() // the task is damaged: the rest is still of use
	}
	return nil
}

// RestingPlaces returns the functions in which a CPU stays after the death of its kernel: those of
// the CPU that panicked, of one that panicked at the same time, of CPUs that were stopped, and of
// CPUs that the start of a crash kernel stopped (kernel/panic.c,
// arch/x86/kernel/{process,reboot}.c). Inner ones come first.
func RestingPlaces() []string {
	return []string{
		"vpanic", "panic", "panic_smp_self_stop", "nmi_panic_self_stop", "stop_this_cpu", "crash_nmi_callback",
	}
}

// LogLine is a message of the kernel's log, as far as [Kernel.Death] uses it.
type LogLine struct {
	Caller uint32 // the same for the messages of one task or, in interrupts, of one CPU
	Text   string
}

// LogReader reads the newest messages of a kernel's log, oldest first. It may return both messages
// and an error, which then says why some are missing.
type LogReader func(ctx context.Context, k *Kernel, newest int) ([]LogLine, error)

// PanicPrefix is what panic() logs before its message (kernel/panic.c). In 5.10 with PREEMPT_RT the
// message is a record of its own.
const PanicPrefix = "Kernel panic - not syncing:"

// oopsPrefixes are the prefixes of the first line of an oops, which has its cause
// (arch/x86/mm/fault.c, lib/bug.c, arch/x86/kernel/traps.c).
var oopsPrefixes = []string{"BUG: ", "kernel BUG at ", "Oops: ", "general protection fault", "divide error", "stack guard page"}

// readMessages finds the message of panic(), and the oops before it, in the newest lines of the
// log.
func (k *Kernel) readMessages(ctx context.Context, d *Death, log LogReader) error {
	const newest = 512 // lines: a panic prints its message, then a backtrace, and sometimes the state of all CPUs
	lines, err := log(ctx, k, newest)
	d.Note(err)
	d.findMessages(lines)
	return ctx.Err() // without the log, the rest is still of use
}

// findMessages finds the message of panic() and the oops before it. An oops led to the panic if
// both have the same caller: a task, or interrupts of the same CPU.
func (d *Death) findMessages(lines []LogLine) {
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

// Taint is the kernel's tainted_mask: events that can make reports of its faults unreliable.
type Taint uint64

// Taint returns the taint of the kernel.
func (k *Kernel) Taint(ctx context.Context) (Taint, error) {
	mask, err := k.ReadSymbol(ctx, "tainted_mask", 8)
	return Taint(mask), err
}

// taintLetters name the bits of a Taint (taint_flags, kernel/panic.c).
const taintLetters = "PFSRMBUDAWCIOELKXTNJ"

// String returns the letters of the bits that are set, or "not tainted".
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
