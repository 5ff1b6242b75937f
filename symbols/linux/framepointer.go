package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"physgdb/symbols/linux/kmem"

	"physgdb/mmu"
	"physgdb/symbols"
)

// A kernel with CONFIG_UNWINDER_FRAME_POINTER has no ORC tables. Each function in C begins with push %rbp; mov %rsp,%rbp, so
// that RBP points to the caller's RBP and the return address is above it. The entry code for interrupts and exceptions, and a
// new task, has the address of its struct pt_regs plus 1 in RBP (ENCODE_FRAME_POINTER, arch/x86/include/asm/frame.h;
// copy_thread, arch/x86/kernel/process.c). The entry code for system calls, and the first code of a CPU, has 0 there
// (PUSH_AND_CLEAR_REGS, arch/x86/entry/calling.h). That is so from 4.14 to 7.2 at least.

// framed are functions that need a frame in each kernel that keeps frame pointers: they call others.
var framed = []string{
	"schedule", "vfs_read", "vfs_write", "ksys_read", "ksys_write", "do_sys_openat2", "filp_close", "kthread", "worker_thread",
	"do_exit", "wake_up_process", "kmem_cache_free", "mutex_lock", "generic_file_read_iter", "dput", "path_openat",
}

// FramePointers reports whether the kernel keeps frame pointers: it has no unwind tables in memory, and most of framed
// begin with that.
func (k *Kernel) FramePointers(ctx context.Context) (bool, error) {
	return k.framePointers.Get(ctx, func(ctx context.Context) (bool, error) {
		if _, hasORC := k.Addr("__start_orc_unwind"); hasORC || k.Symbols == nil {
			return false, nil
		}
		var found, keep int
		for _, name := range framed {
			addr, ok := k.Addr(name)
			if !ok {
				continue
			}
			var code [longestPrologue]byte
			if _, err := k.Space.ReadMemory(ctx, addr, code[:]); err != nil {
				return false, fmt.Errorf("the code of %s: %w", name, err)
			}
			found++
			if _, _, ok := framing(code[:]); ok {
				keep++
			}
		}
		return found > 0 && 2*keep > found, nil
	})
}

// longestPrologue is how many bytes of a function are looked at for where its frame is complete: endbr64, a call or no operation
// of 5 bytes for ftrace, push %rbp, an instruction or two that the compiler moved here, mov %rsp,%rbp.
const longestPrologue = 4 + 5 + 1 + 16 + 3

// framing finds in the code at the start of a function where push %rbp and mov %rsp,%rbp are. The first is at the start, or
// behind what -fcf-protection=branch and -mfentry add.
func framing(code []byte) (push, move int, ok bool) {
	if bytes.HasPrefix(code, []byte{0xf3, 0x0f, 0x1e, 0xfa}) {
		push += 4
	}
	rest := code[push:]
	if bytes.HasPrefix(rest, []byte{0xe8}) || bytes.HasPrefix(rest, []byte{0x0f, 0x1f, 0x44, 0x00, 0x00}) {
		push += 5
	}
	if push >= len(code) || code[push] != 0x55 {
		return 0, 0, false
	}
	between := bytes.Index(code[push+1:], []byte{0x48, 0x89, 0xe5})
	return push, push + 1 + between, between >= 0
}

// callerByFramePointer finds the caller of a function of a kernel that keeps frame pointers.
func (k *Kernel) callerByFramePointer(ctx context.Context, r *Registers) (*Registers, error) {
	bp, known := r.Get(symbols.RBP)
	switch {
	case !known:
		return nil, fmt.Errorf("caller of the code at %#x: the frame pointer is not known", r.PC())
	case bp&1 != 0:
		return k.encodedRegs(ctx, bp-1)
	case bp == 0:
		return k.enteredFromUser(ctx, r.SP())
	}
	rule, err := k.frameSoFar(ctx, r, bp)
	if err != nil {
		return nil, err
	}
	next, err := k.apply(ctx, r, rule)
	return k.ifCalled(ctx, next, err, fmt.Errorf("caller of the code at %#x: the frame pointer %#x leads to no frame", r.PC(), bp))
}

// encodedRegs returns the registers of what an interrupt or exception interrupted, at addr. Those of a kernel thread's own
// start are zeros: it was not entered from anywhere.
func (k *Kernel) encodedRegs(ctx context.Context, addr uint64) (*Registers, error) {
	regs, err := k.readPtRegs(ctx, addr)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the registers that the frame pointer leads to: %w", err)
	case regs.CS == 0 && k.endsStack(addr):
		return nil, errLastFrame
	case regs.CS != kernelCS && !isUser(regs):
		return nil, fmt.Errorf("the frame pointer leads to %#x, where there are no registers", addr)
	}
	return regs, nil
}

// endsStack reports whether a struct pt_regs at addr is at the very top of a stack, or below the two words that kernels with
// CONFIG_X86_FRED leave there (TOP_OF_KERNEL_STACK_PADDING, arch/x86/include/asm/thread_info.h).
func (k *Kernel) endsStack(addr uint64) bool {
	const size, padding = 21 * 8, 16 // bytes
	return (addr+size)%mmu.PageSize == 0 || (addr+size+padding)%mmu.PageSize == 0
}

// kernelCS is the code segment of the kernel, __KERNEL_CS (arch/x86/include/asm/segment.h).
const kernelCS = 0x10

// isUser reports whether registers are those of user space: both selectors are of ring 3, and bit 1 of RFLAGS, which is always
// set, is.
func isUser(regs *Registers) bool { return regs.User() && regs.SS&3 == 3 && regs.Flags&2 != 0 }

// enteredFromUser returns the registers of user space that a system call saved: its entry code has them at the top of the
// stack, or a little above if the function that it called aligned its own stack. Else the stack has ended.
func (k *Kernel) enteredFromUser(ctx context.Context, sp uint64) (*Registers, error) {
	const farthest = 32 // bytes
	for at := sp; at <= sp+farthest; at += 8 {
		regs, err := k.readPtRegs(ctx, at)
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

// guessFramePointer sets RBP to the first place above RSP where a frame pointer and a return address are, if the kernel keeps
// frame pointers.
func (k *Kernel) guessFramePointer(ctx context.Context, regs *Registers, above []uint64) error {
	keeps, err := k.FramePointers(ctx)
	if err != nil || !keeps {
		return err
	}
	for i := 1; i < len(above); i++ {
		if saved := above[i-1]; saved < mmu.Upper.First || saved%8 > 1 || k.inText(saved) || !k.inText(above[i]) {
			continue
		}
		called, err := k.behindCall(ctx, above[i])
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

// frameSoFar returns how to find the caller of a function that may have been interrupted before its frame was complete or
// after it was gone, or that has none, as short functions in assembly language.
func (k *Kernel) frameSoFar(ctx context.Context, r *Registers, bp uint64) (symbols.FrameRule, error) {
	complete, pushed := symbols.ByFramePointer(), symbols.FrameRule{Kind: symbols.CallFrame, Base: symbols.RSP, Offset: 16}
	place, err := k.Symbolize(ctx, r.PC())
	if !r.Exact || err != nil {
		return complete, ctx.Err()
	}
	code := make([]byte, min(place.Offset, longestPrologue)+longestPrologue)
	if _, err := k.Space.ReadMemory(ctx, r.PC()-min(place.Offset, longestPrologue), code); err != nil {
		return complete, err
	}
	at := int(min(place.Offset, longestPrologue)) // in code
	if place.Offset <= longestPrologue {
		switch push, move, ok := framing(code); {
		case ok && at <= push:
			return topOfStack(), nil
		case ok && at <= move:
			return pushed, nil
		}
	}
	if at > 0 && isGone(code[at-1], code[at]) {
		return topOfStack(), nil
	}
	if isCallee, err := k.returnsTo(ctx, bp+8, place.Addr); isCallee || err != nil {
		return complete, err
	}
	isCallee, err := k.returnsTo(ctx, r.SP(), place.Addr)
	if isCallee {
		return topOfStack(), err
	}
	return complete, err
}

// isGone reports whether an instruction that begins with a byte is one after a function has dropped its frame: a return, or a
// jump to another function or the return thunk, behind pop %rbp or leave.
func isGone(before, first byte) bool {
	const pop, leave, ret, jmp, int3 = 0x5d, 0xc9, 0xc3, 0xe9, 0xcc
	return (before == pop || before == leave) && (first == ret || first == jmp) || before == ret && first == int3
}

// returnsTo reports whether the word at slot is the address behind a direct call of fn.
func (k *Kernel) returnsTo(ctx context.Context, slot, fn uint64) (bool, error) {
	ret, err := kmem.ReadUint(ctx, k.Space, slot, 8)
	if err != nil {
		var hole *mmu.ReadError
		if errors.As(err, &hole) && ctx.Err() == nil {
			return false, nil
		}
		return false, err
	}
	if !k.inText(ret) {
		return false, nil
	}
	called, direct, err := k.callBefore(ctx, ret)
	return direct && called == fn, err
}
