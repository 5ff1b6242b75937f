// Package userspace reads what the kernel keeps about the program of a task.
package userspace

import (
	"context"
	"fmt"

	"physgdb/symbols/linux"
	"physgdb/symbols/linux/kmem"
	"physgdb/symbols/linux/unwind"
)

// ABI is the binary interface of a program: the width of its registers and pointers.
type ABI int

// The ABIs of programs on an x86-64 kernel.
const (
	AMD64 ABI = iota
	I386      // 32-bit registers and pointers
	X32       // 64-bit registers, 32-bit pointers
)

// PointerSize returns the size of a pointer in bytes.
func (a ABI) PointerSize() int {
	if a == AMD64 {
		return 8
	}
	return 4
}

// user32CS is the selector of 32-bit code (__USER32_CS, arch/x86/include/asm/segment.h).
const user32CS = 0x23

// ProgramABI returns the ABI of a task's program. When the kernel loads a program with 32-bit
// pointers, it limits its addresses: mm_struct.task_size is then at most 4 GiB (TASK_SIZE,
// arch/x86/include/asm/page_64.h, and setup_new_exec(), fs/exec.c; the member exists in 6.1 to
// 7.3). A program with 64-bit pointers that runs 32-bit code, such as Wine, is [AMD64]. If the
// kernel's types have no such member, the code segment decides.
func ProgramABI(ctx context.Context, u *unwind.Unwinder, t *linux.Task) (ABI, error) {
	if t.MM == 0 {
		return AMD64, nil
	}
	types, err := u.Kernel.Types(ctx)
	if err != nil {
		return AMD64, err
	}
	regs, regsErr := u.UserRegisters(ctx, t)
	if ctx.Err() != nil {
		return AMD64, ctx.Err()
	}
	runs32 := regsErr == nil && regs.CS == user32CS
	limit, err := types.Field("mm_struct", "task_size")
	if err != nil {
		if runs32 {
			return I386, nil
		}
		return AMD64, nil
	}
	size, err := kmem.ReadUint(ctx, u.Kernel.Space, t.MM+limit.Offset, 8)
	switch {
	case err != nil:
		return AMD64, fmt.Errorf("address space of task %d: %w", t.PID, err)
	case size == 0 || size > 1<<32:
		return AMD64, nil
	case runs32 || regsErr != nil: // most such programs are; without registers there is no other evidence
		return I386, nil
	}
	return X32, nil
}
