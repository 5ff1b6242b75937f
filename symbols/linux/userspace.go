package linux

import (
	"bytes"
	"context"
	"fmt"
)

// fredPadding is the size of the area that kernels with CONFIG_X86_FRED leave free at the top of a
// task's stack, in bytes (TOP_OF_KERNEL_STACK_PADDING, arch/x86/include/asm/thread_info.h, 6.9 on).
const fredPadding = 16

// UserRegisters returns the user space registers of a task at its last entry into the kernel.
// Kernel threads have none. For a task that runs in user space they are out of date.
func (k *Kernel) UserRegisters(ctx context.Context, t *Task) (*Registers, error) {
	if t.MM == 0 {
		return nil, fmt.Errorf("task %d has no user space", t.PID)
	}
	layout, err := k.ptRegsLayout(ctx)
	if err != nil {
		return nil, err
	}
	for _, padding := range []uint64{0, fredPadding} {
		regs, err := k.readPtRegs(ctx, t.StackEnd()-padding-layout.Size())
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

// Auxv returns the auxiliary vector of a task's program as it is in memory: pairs of words of the
// program's width, up to that of AT_NULL. It is empty for kernel threads.
func (k *Kernel) Auxv(ctx context.Context, t *Task) ([]byte, error) {
	if t.MM == 0 {
		return nil, nil
	}
	types, err := k.Types(ctx)
	if err != nil {
		return nil, err
	}
	saved, err := types.Field("mm_struct", "saved_auxv")
	if err != nil {
		return nil, err
	}
	const maxSize = 4096 // bytes; kernels have some 400
	vector := make([]byte, min(saved.Size, maxSize)&^15)
	if _, err := k.Space.ReadMemory(ctx, t.MM+saved.Offset, vector); err != nil {
		return nil, fmt.Errorf("auxiliary vector of task %d: %w", t.PID, err)
	}
	abi, err := k.ProgramABI(ctx, t)
	if err != nil {
		return nil, err
	}
	word := abi.PointerSize() // elf_addr_t of fs/binfmt_elf.c and fs/compat_binfmt_elf.c
	for at := 0; at < len(vector); at += 2 * word {
		if bytes.Count(vector[at:at+word], []byte{0}) == word {
			return vector[:at+2*word], nil
		}
	}
	return nil, fmt.Errorf("auxiliary vector of task %d at %#x has no end: damaged memory", t.PID, t.MM+saved.Offset)
}
