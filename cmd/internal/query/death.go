package host

import (
	"context"
	"fmt"

	"physgdb/symbols/linux/klog"

	"physgdb/internal/plain"
	"physgdb/symbols/linux"
)

// obituary says in a line what the machine died of: by its own notice, or else by its memory. It is empty if the kernel
// has not panicked, or nobody can tell.
func (m *Machine) obituary(ctx context.Context) string {
	death := m.death(ctx)
	switch n := m.Notice; {
	case n != nil:
		return epitaph(n.Message, &death) + taskWords(n.Comm, n.PID)
	case death.CPU == nil:
		return ""
	case death.Task == nil:
		return epitaph(death.Message, &death)
	}
	return epitaph(death.Message, &death) + taskWords(death.Task.Comm, &death.Task.PID)
}

// death is what memory tells of the machine's death; as good as nothing where it cannot be read.
func (m *Machine) death(ctx context.Context) linux.Death {
	if m.Kernel.Symbols == nil {
		return linux.Death{}
	}
	d, err := m.Kernel.Death(ctx, klog.Newest)
	if err != nil {
		return linux.Death{}
	}
	return *d
}

// deadCPU returns the number of the CPU that panicked, or -1 if none did or nobody can tell.
func (m *Machine) deadCPU(ctx context.Context) int {
	if m.Notice != nil {
		return m.cpus[0]
	}
	if cpu := m.death(ctx).CPU; cpu != nil {
		return cpu.ID
	}
	return -1
}

// epitaph puts a panic's message, and the oops that led to it or else one before it, into words.
func epitaph(message string, death *linux.Death) string {
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

// taskWords names the task of a panic, if it is known.
func taskWords(comm string, pid *int) string {
	switch {
	case comm == "":
		return ""
	case pid == nil:
		return "; task " + plain.Line(comm)
	}
	return fmt.Sprintf("; task %s, pid %d", plain.Line(comm), *pid)
}
