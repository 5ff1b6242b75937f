package unwind

import (
	"context"
	"errors"
	"fmt"

	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/kmem"
)

// A kernel with CONFIG_UNWINDER_FRAME_POINTER has no ORC tables. Each C function begins with push
// %rbp; mov %rsp,%rbp, so that RBP points to the caller's RBP, which is followed by the return
// address. The entry code for interrupts and exceptions, and a new task, has the address of its
// struct pt_regs plus 1 in RBP (ENCODE_FRAME_POINTER, arch/x86/include/asm/frame.h; copy_thread,
// arch/x86/kernel/process.c). The entry code for system calls, and the first code of a CPU, has 0
// in RBP (PUSH_AND_CLEAR_REGS, arch/x86/entry/calling.h). This holds from 4.14 to 7.2 at least.

// callerByFramePointer finds the caller of a function of a kernel with frame pointers.
func (u *Unwinder) callerByFramePointer(ctx context.Context, r *Registers) (*Registers, error) {
	bp, known := r.Get(symbols.RBP)
	switch {
	case !known:
		return nil, fmt.Errorf("caller of the code at %#x: the frame pointer is not known", r.PC())
	case bp&1 != 0:
		return u.encodedRegs(ctx, bp-1)
	case bp == 0:
		return u.enteredFromUser(ctx, r.SP())
	}
	rule, err := u.frameSoFar(ctx, r, bp)
	if err != nil {
		return nil, err
	}
	next, err := u.apply(ctx, r, rule)
	return u.ifCalled(ctx, next, err, fmt.Errorf("caller of the code at %#x: there is no frame at the frame pointer %#x", r.PC(), bp))
}

// encodedRegs returns the registers of the code that an interrupt or exception interrupted, at
// addr. Those of the start of a kernel thread are zeros: it has no caller.
func (u *Unwinder) encodedRegs(ctx context.Context, addr uint64) (*Registers, error) {
	regs, err := u.readPtRegs(ctx, addr)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the registers at the frame pointer: %w", err)
	case regs.CS == 0 && u.endsStack(addr):
		return nil, errLastFrame
	case regs.CS != kernelCS && !isUser(regs):
		return nil, fmt.Errorf("there are no registers at the frame pointer, %#x", addr)
	}
	return regs, nil
}

// endsStack reports whether a struct pt_regs at addr ends at the end of a stack, or at the padding
// of two words that kernels with CONFIG_X86_FRED have there (TOP_OF_KERNEL_STACK_PADDING,
// arch/x86/include/asm/thread_info.h).
func (u *Unwinder) endsStack(addr uint64) bool {
	const size, padding = 21 * 8, 16 // bytes
	return (addr+size)%mmu.PageSize == 0 || (addr+size+padding)%mmu.PageSize == 0
}

// kernelCS is __KERNEL_CS, the kernel's code segment (arch/x86/include/asm/segment.h).
const kernelCS = 0x10

// isUser reports whether registers are those of user space: both selectors have ring 3, and bit 1
// of RFLAGS, which is always 1, is set.
func isUser(regs *Registers) bool { return regs.User() && regs.SS&3 == 3 && regs.Flags&2 != 0 }

// enteredFromUser returns the user space registers that the entry code for system calls saved: they
// are at the top of the stack, or a little above if the function that it called aligned its stack.
// Otherwise the stack ends here.
func (u *Unwinder) enteredFromUser(ctx context.Context, sp uint64) (*Registers, error) {
	const maxDistance = 32 // bytes
	for at := sp; at <= sp+maxDistance; at += 8 {
		regs, err := u.readPtRegs(ctx, at)
		var hole *mmu.ReadError
		switch {
		case ctx.Err() != nil || err != nil && !errors.As(err, &hole):
			return nil, err
		case err == nil && isUser(regs):
			return regs, nil
		}
	}
	return nil, errLastFrame
}

// guessFramePointer sets RBP to the first address above RSP with a frame pointer and a return
// address, if the kernel has frame pointers.
func (u *Unwinder) guessFramePointer(ctx context.Context, regs *Registers, above []uint64) error {
	keeps, err := u.Kernel.FramePointers(ctx)
	if err != nil || !keeps {
		return err
	}
	for i := 1; i < len(above); i++ {
		if saved := above[i-1]; saved < mmu.Upper.First || saved%8 > 1 || u.Kernel.InText(saved) || !u.Kernel.InText(above[i]) {
			continue
		}
		called, err := u.afterCall(ctx, above[i])
		if err != nil {
			return err
		}
		if called {
			regs.set(symbols.RBP, regs.SP()+8*uint64(i-1))
			return nil
		}
	}
	return nil
}

// frameSoFar returns how to find the caller of a function that may have been interrupted before its
// frame was complete or after it was removed, or that has no frame, such as short functions in
// assembly language.
func (u *Unwinder) frameSoFar(ctx context.Context, r *Registers, bp uint64) (symbols.FrameRule, error) {
	complete, pushed := symbols.ByFramePointer(), symbols.FrameRule{Kind: symbols.CallFrame, Base: symbols.RSP, Offset: 16}
	place, err := u.Kernel.Symbolize(ctx, r.PC())
	if !r.Exact || err != nil {
		return complete, ctx.Err()
	}
	code := make([]byte, min(place.Offset, linux.MaxPrologue)+linux.MaxPrologue)
	if _, err := u.Kernel.Space.ReadMemory(ctx, r.PC()-min(place.Offset, linux.MaxPrologue), code); err != nil {
		return complete, err
	}
	at := int(min(place.Offset, linux.MaxPrologue)) // in code
	if place.Offset <= linux.MaxPrologue {
		switch push, move, ok := linux.Framing(code); {
		case ok && at <= push:
			return topOfStack(), nil
		case ok && at <= move:
			return pushed, nil
		}
	}
	if at > 0 && isGone(code[at-1], code[at]) {
		return topOfStack(), nil
	}
	if isCallee, err := u.returnsTo(ctx, bp+8, place.Addr); isCallee || err != nil {
		return complete, err
	}
	isCallee, err := u.returnsTo(ctx, r.SP(), place.Addr)
	if isCallee {
		return topOfStack(), err
	}
	return complete, err
}

// isGone reports whether an instruction, given its first byte and the byte before it, follows the
// removal of the frame: a return, or a jump to another function or the return thunk, after pop %rbp
// or leave.
func isGone(before, first byte) bool {
	const pop, leave, ret, jmp, int3 = 0x5d, 0xc9, 0xc3, 0xe9, 0xcc
	return (before == pop || before == leave) && (first == ret || first == jmp) || before == ret && first == int3
}

// returnsTo reports whether the word at slot is the return address of a direct call of fn.
func (u *Unwinder) returnsTo(ctx context.Context, slot, fn uint64) (bool, error) {
	ret, err := kmem.ReadUint(ctx, u.Kernel.Space, slot, 8)
	if err != nil {
		var hole *mmu.ReadError
		if errors.As(err, &hole) && ctx.Err() == nil {
			return false, nil
		}
		return false, err
	}
	if !u.Kernel.InText(ret) {
		return false, nil
	}
	called, direct, err := u.callBefore(ctx, ret)
	return direct && called == fn, err
}
