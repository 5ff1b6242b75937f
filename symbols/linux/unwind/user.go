package unwind

import (
	"context"
	"fmt"

	"physgdb/symbols/linux"
)

// fredPadding is the size of the area that kernels with CONFIG_X86_FRED leave free at the top of a
// task's stack, in bytes (TOP_OF_KERNEL_STACK_PADDING, arch/x86/include/asm/thread_info.h, 6.9 on).
const fredPadding = 16

// UserRegisters returns the user space registers of a task at its last entry into the kernel.
// Kernel threads have none. For a task that runs in user space they are out of date.
func (u *Unwinder) UserRegisters(ctx context.Context, t *linux.Task) (*Registers, error) {
	if t.MM == 0 {
		return nil, fmt.Errorf("task %d has no user space", t.PID)
	}
	layout, err := u.ptRegsLayout(ctx)
	if err != nil {
		return nil, err
	}
	for _, padding := range []uint64{0, fredPadding} {
		regs, err := u.readPtRegs(ctx, t.StackEnd()-padding-layout.Size())
		if err != nil {
			return nil, fmt.Errorf("registers of the program of task %d: %w", t.PID, err)
		}
		if regs.fromUserSpace() {
			regs.From = "where it entered the kernel"
			return regs, nil
		}
	}
	return nil, fmt.Errorf("task %d left no registers of its program, or they are damaged", t.PID)
}

// fromUserSpace reports whether registers can be those of a program: ring 3, and RIP in the lower
// half of the address space.
func (r *Registers) fromUserSpace() bool {
	return r.User() && r.SS&3 == 3 && int64(r.PC()) >= 0
}
