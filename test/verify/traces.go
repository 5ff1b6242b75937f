package verify

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"

	"physgdb/test/guest"
	"physgdb/test/guest/witness"
)

// Trace is a line of `physgdb bt --json`: the backtrace of a task.
type Trace struct {
	PID, TID, CPU     int
	Comm, Registers   string
	Panicked, Running bool
	Frames            []Frame
	User              *Registers
	Lost              string
}

// Frame is a function on a stack.
type Frame struct {
	SP, PC           string
	Function, Module string
	Offset, Size     string
	Stack            string
	Interrupted      *Registers
}

// Registers are those that the task saved when it was switched out or interrupted.
type Registers struct {
	RIP, RSP  string
	Registers map[string]string
}

// Functions names the functions of a trace, with their modules.
func (tr *Trace) Functions() []string {
	var names []string
	for _, f := range tr.Frames {
		names = append(names, InModule(f.Function, f.Module))
	}
	return names
}

// Addresses returns the addresses of the frames of a trace, and that of the user program.
func (tr *Trace) Addresses() []string {
	var at []string
	for _, f := range tr.Frames {
		at = append(at, f.PC)
	}
	if tr.User != nil {
		at = append(at, tr.User.RIP)
	}
	return at
}

// compat reports whether the task is a 32-bit program, by its stack pointer.
func (tr *Trace) compat() bool {
	if tr.User == nil {
		return false
	}
	rsp, err := strconv.ParseUint(tr.User.RSP, 0, 64)
	return err == nil && rsp < 1<<32
}

// InModule formats a function as the kernel's traces do.
func InModule(function, module string) string {
	if module != "" {
		return function + " [" + module + "]"
	}
	return function
}

// CallTrace returns the functions of the trace that the dying kernel printed, the function that
// made an oops first.
func CallTrace(facts *guest.Facts) []string {
	frames := facts.Frames
	var names []string
	if rip := facts.OopsRIP; rip != nil {
		names = append(names, InModule(rip.Function, rip.Module))
	} else if i := slices.IndexFunc(frames, isPanic); i > 0 {
		frames = frames[i:] // some kernels list the functions that print the trace first
	}
	for _, f := range frames {
		names = append(names, InModule(f.Function, f.Module))
	}
	return names
}

// isPanic reports whether a frame is the first of those that died: vpanic of 6.17 and later, or
// panic.
func isPanic(f guest.Frame) bool { return f.Function == "vpanic" || f.Function == "panic" }

// PanicBacktrace compares the output of `bt --json` with the Call Trace.
func PanicBacktrace(facts *guest.Facts, out string) error {
	traces, err := JSONLines[Trace](out)
	if err != nil {
		return err
	}
	if len(traces) != 1 || !traces[0].Panicked {
		return fmt.Errorf("%d traces: %.2000s", len(traces), out)
	}
	tr, want := &traces[0], CallTrace(facts)
	if len(want) < 4 {
		return fmt.Errorf("the Call Trace in the log is incomplete: %q", want)
	}
	var errs []error
	if diff := cmp.Diff(want, tr.Functions()); diff != "" {
		errs = append(errs, fmt.Errorf("bt differs from the Call Trace (-log +bt):\n%s", diff))
	}
	if tr.TID != facts.PanicPID || tr.CPU != facts.PanicCPU || tr.Comm != facts.PanicComm {
		errs = append(errs, fmt.Errorf("%d %s on CPU %d; the log says %d %s on CPU %d", tr.TID, tr.Comm, tr.CPU,
			facts.PanicPID, facts.PanicComm, facts.PanicCPU))
	}
	return errors.Join(errs...)
}

// Stacks compares the traces of `bt --json all` with /proc/PID/stack of every thread that slept and
// did not panic. That file omits the functions of the scheduler, which are between
// __sched_text_start and __sched_text_end.
func Stacks(facts *guest.Facts, stacks []witness.Stack, symbols Symbols, traces []Trace) error {
	start, end := symbols.address("__sched_text_start"), symbols.address("__sched_text_end")
	if start == 0 || end <= start {
		return errors.New("the guest reported no __sched_text_start")
	}
	byTID := map[int]*Trace{}
	for i := range traces {
		byTID[traces[i].TID] = &traces[i]
	}
	var errs []error
	for _, s := range stacks {
		tr := byTID[s.TID]
		if tr == nil {
			errs = append(errs, fmt.Errorf("%d %s has no trace", s.TID, s.Comm))
			continue
		}
		if s.TID == facts.PanicPID { // as khungtaskd
			continue
		}
		if diff := cmp.Diff(procStack(s.Stack), tr.likeProc(start, end)); diff != "" && !restless(s.Comm) {
			errs = append(errs, fmt.Errorf("stack of %d %s (-/proc +bt):\n%s", s.TID, s.Comm, diff))
		}
	}
	if len(stacks) < 30 {
		errs = append(errs, fmt.Errorf("the guest reported only %d stacks", len(stacks)))
	}
	return errors.Join(errs...)
}

// restless reports whether a kernel thread runs periodically, so that it may sleep elsewhere when
// the machine dies.
func restless(comm string) bool {
	return strings.HasPrefix(comm, "rcu_") || strings.HasPrefix(comm, "kworker/")
}

// procStack reads /proc/PID/stack: lines "[<0>] function+0x1/0x2".
func procStack(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		_, place, _ := strings.Cut(strings.TrimSpace(line), "] ")
		lines = append(lines, place)
	}
	return lines
}

// likeProc formats the frames of a trace as /proc/PID/stack does, without those of the scheduler.
func (tr *Trace) likeProc(schedStart, schedEnd uint64) []string {
	var lines []string
	for _, f := range tr.Frames {
		pc, err := strconv.ParseUint(f.PC, 0, 64)
		if err == nil && pc >= schedStart && pc < schedEnd {
			continue
		}
		lines = append(lines, InModule(fmt.Sprintf("%s+%s/%s", f.Function, f.Offset, f.Size), f.Module))
	}
	return lines
}
