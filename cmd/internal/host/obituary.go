package host

import (
	"context"
	"fmt"

	"physgdb/symbols/linux"
)

// obituary says in a line what the machine died of: by its own notice, or else by its memory. It is empty if the kernel
// has not panicked, or nobody can tell.
func (m *Machine) obituary(ctx context.Context) string {
	var death linux.Death // what memory tells
	if m.Kernel.Symbols != nil {
		if d, err := m.Kernel.Death(ctx); err == nil {
			death = *d
		}
	}
	switch n := m.Notice; {
	case n != nil:
		return epitaph(n.Message, death.Cause, n.Comm, n.PID)
	case death.CPU == nil:
		return ""
	case death.Task == nil:
		return epitaph(death.Message, death.Cause, "", nil)
	}
	return epitaph(death.Message, death.Cause, death.Task.Comm, &death.Task.PID)
}

// deadCPU returns the number of the CPU that panicked, or -1 if none did or nobody can tell.
func (m *Machine) deadCPU(ctx context.Context) int {
	if m.Notice != nil {
		return m.cpus[0]
	}
	if m.Kernel.Symbols == nil {
		return -1
	}
	death, err := m.Kernel.Death(ctx)
	if err != nil || death.CPU == nil {
		return -1
	}
	return death.CPU.ID
}

// epitaph puts a panic's message, the oops that led to it, and its task into words.
func epitaph(message, cause, comm string, pid *int) string {
	text := "panicked"
	if message != "" {
		text += ": " + oneLine(message)
	}
	if cause != "" {
		text += "; " + oneLine(cause)
	}
	if comm == "" {
		return text
	}
	text += "; task " + oneLine(comm)
	if pid != nil {
		text += fmt.Sprintf(", pid %d", *pid)
	}
	return text
}
