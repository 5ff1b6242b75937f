package host

import (
	"context"
	"fmt"

	"physgdb/symbols/linux"
)

// obituary says in a line what the machine died of: by its own notice, or else by its memory. It is empty if the kernel
// has not panicked, or nobody can tell.
func (m *Machine) obituary(ctx context.Context) string {
	death := m.death(ctx)
	switch n := m.Notice; {
	case n != nil:
		return epitaph(n.Message, death.Cause) + taskWords(n.Comm, n.PID)
	case death.CPU == nil:
		return ""
	case death.Task == nil:
		return epitaph(death.Message, death.Cause)
	}
	return epitaph(death.Message, death.Cause) + taskWords(death.Task.Comm, &death.Task.PID)
}

// death is what memory tells of the machine's death; as good as nothing where it cannot be read.
func (m *Machine) death(ctx context.Context) linux.Death {
	if m.Kernel.Symbols == nil {
		return linux.Death{}
	}
	d, err := m.Kernel.Death(ctx)
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

// epitaph puts a panic's message, and the oops that led to it, into words.
func epitaph(message, cause string) string {
	text := "panicked"
	if message != "" {
		text += ": " + oneLine(message)
	}
	if cause != "" {
		text += "; " + oneLine(cause)
	}
	return text
}

// taskWords names the task of a panic, if it is known.
func taskWords(comm string, pid *int) string {
	switch {
	case comm == "":
		return ""
	case pid == nil:
		return "; task " + oneLine(comm)
	}
	return fmt.Sprintf("; task %s, pid %d", oneLine(comm), *pid)
}
