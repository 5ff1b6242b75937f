package query

import (
	"context"
	"fmt"

	"physgdb/cmd/internal/machine"
	"physgdb/internal/plain"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/klog"
)

// PanicSummary returns in one line why the machine panicked: from its notice, or else from its
// memory. It is empty if the kernel has not panicked, or that is not known.
func PanicSummary(ctx context.Context, m *machine.Machine) string {
	death := Death(ctx, m)
	switch n := m.Notice; {
	case n != nil:
		return PanicText(n.Message, &death) + TaskText(n.Comm, n.PID)
	case death.CPU == nil:
		return ""
	case death.Task == nil:
		return PanicText(death.Message, &death)
	}
	return PanicText(death.Message, &death) + TaskText(death.Task.Comm, &death.Task.PID)
}

// Death returns what the target's memory records about the panic; its fields are zero if that
// cannot be read.
func Death(ctx context.Context, m *machine.Machine) linux.Death {
	if m.Kernel.Symbols == nil {
		return linux.Death{}
	}
	d, err := m.Kernel.Death(ctx, klog.Newest)
	if err != nil {
		return linux.Death{}
	}
	return *d
}

// deadCPU returns the number of the CPU that panicked, or -1 if none did or it is not known.
func deadCPU(ctx context.Context, m *machine.Machine) int {
	if m.Notice != nil {
		return m.CPUs[0]
	}
	if cpu := Death(ctx, m).CPU; cpu != nil {
		return cpu.ID
	}
	return -1
}

// DeadTask returns the task that panicked, or nil.
func DeadTask(ctx context.Context, m *machine.Machine) *linux.Task {
	death, err := m.Kernel.Death(ctx, klog.Newest)
	if err != nil {
		m.Log.Warn("the cause of death cannot be found", "why", err)
		return nil
	}
	return death.Task
}

// PanicText returns a panic's message in words, with the oops that led to it or an earlier one.
func PanicText(message string, death *linux.Death) string {
	text := "panicked"
	if message != "" {
		text += ": " + plain.Line(message)
	}
	switch {
	case death.Cause != "":
		text += "; " + plain.Line(death.Cause)
	case death.Before != "":
		text += "; before that: " + plain.Line(death.Before)
	}
	return text
}

// TaskText returns words for the task of a panic, to be appended to [PanicText]. They are empty if
// the task is not known.
func TaskText(comm string, pid *int) string {
	switch {
	case comm == "":
		return ""
	case pid == nil:
		return "; task " + plain.Line(comm)
	}
	return fmt.Sprintf("; task %s, pid %d", plain.Line(comm), *pid)
}
