package unwind

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/symbols/linux"
)

// callerWithoutEntry finds the caller of code that no unwind table covers; uncovered is the error
// that says so. In a kernel with frame pointers (CONFIG_UNWINDER_FRAME_POINTER) that is all code.
// In others it is code generated at run time, which is assumed to have a frame pointer, as BPF
// programs do.
func (u *Unwinder) callerWithoutEntry(ctx context.Context, r *Registers, uncovered error) (*Registers, error) {
	next, err := u.callerOfWild(ctx, r, uncovered)
	if err != uncovered {
		return next, err
	}
	keeps, err := u.Kernel.FramePointers(ctx)
	if err != nil {
		return nil, err
	}
	if keeps {
		return u.callerByFramePointer(ctx, r)
	}
	const maxFrame = 64 << 10 // bytes
	bp, known := r.Get(symbols.RBP)
	if !known || bp < r.SP() || bp-r.SP() >= maxFrame {
		return nil, uncovered
	}
	next, err = u.apply(ctx, r, symbols.ByFramePointer())
	if next != nil {
		next.guessed = true
	}
	return u.ifCalled(ctx, next, err, uncovered)
}

// callerOfWild finds the caller of an address that is not code. It returns the error otherwise if r
// is not the result of such a call.
func (u *Unwinder) callerOfWild(ctx context.Context, r *Registers, otherwise error) (*Registers, error) {
	if !r.Exact {
		return nil, otherwise
	}
	wild, err := u.isWild(ctx, r.PC())
	if err != nil {
		return nil, err
	}
	if !wild {
		return nil, otherwise
	}
	next, err := u.apply(ctx, r, topOfStack())
	return u.ifCalled(ctx, next, err, otherwise)
}

// WildCalls returns the addresses without code that the CPUs have called, by the backtraces of
// their tasks.
func (u *Unwinder) WildCalls(ctx context.Context) ([]uint64, error) {
	cpus, err := u.Kernel.CPUs(ctx)
	if err != nil {
		return nil, err
	}
	var wild []uint64
	for i := range cpus {
		called, err := u.wildCallsOf(ctx, &cpus[i])
		if err != nil {
			return nil, err
		}
		wild = append(wild, called...)
	}
	slices.Sort(wild)
	return slices.Compact(wild), nil
}

// wildCallsOf is WildCalls for one CPU. A task without known registers has none. The error is
// ctx's.
func (u *Unwinder) wildCallsOf(ctx context.Context, c *linux.CPU) ([]uint64, error) {
	task, err := u.Kernel.TaskAt(ctx, c.Current)
	if err != nil {
		return nil, ctx.Err()
	}
	regs, err := u.Registers(ctx, task)
	if err != nil {
		return nil, ctx.Err()
	}
	b, err := u.Unwind(ctx, regs)
	if err != nil {
		return nil, err
	}
	var wild []uint64
	for _, f := range b.Frames {
		if !f.Exact {
			continue
		}
		if is, err := u.isWild(ctx, f.PC); err == nil && is {
			wild = append(wild, f.PC)
		}
	}
	return wild, ctx.Err()
}

// topOfStack is the rule at the first instruction of a function.
func topOfStack() symbols.FrameRule {
	return symbols.FrameRule{Kind: symbols.CallFrame, Base: symbols.RSP, Offset: 8, CalleeSaved: true}
}

// isWild reports whether an address cannot be executed. If it is that of the next instruction, it
// was called through an invalid pointer. The kernel does not execute user space (SMEP).
func (u *Unwinder) isWild(ctx context.Context, pc uint64) (bool, error) {
	if pc < mmu.Upper.First {
		return true, nil
	}
	mapping, err := u.Kernel.Space.Translate(ctx, pc)
	if errors.Is(err, mmu.ErrNotPresent) || errors.Is(err, mmu.ErrNonCanonical) {
		return true, nil
	}
	return err == nil && mapping.Flags&mmu.Executable == 0, err
}

// ifCalled returns the registers of a caller if their RIP follows a call, and otherwise the error
// uncovered.
func (u *Unwinder) ifCalled(ctx context.Context, next *Registers, err, uncovered error) (*Registers, error) {
	if err != nil {
		return nil, err
	}
	called, err := u.afterCall(ctx, next.PC())
	if err != nil {
		return nil, err
	}
	if !called {
		return nil, uncovered
	}
	return next, nil
}

// apply returns the registers of the caller, given a rule for calls.
func (u *Unwinder) apply(ctx context.Context, r *Registers, rule symbols.FrameRule) (*Registers, error) {
	cfa, err := u.frameAddress(ctx, r, &rule)
	if err != nil {
		return nil, err
	}
	next, err := u.returned(ctx, r, &rule, cfa)
	if err != nil {
		return nil, fmt.Errorf("caller of the code at %#x: %w", r.PC(), err)
	}
	return next, u.restore(ctx, r, next, &rule, cfa)
}

// afterCall reports whether an address is one of kernel code that follows a call: a direct one, or
// one through a register or memory. Such a call has 2 to 7 bytes and contains FF /2 (Intel SDM vol.
// 2, CALL).
func (u *Unwinder) afterCall(ctx context.Context, ret uint64) (bool, error) {
	const maxCall = 7
	if !u.Kernel.InText(ret) {
		return false, nil
	}
	if u.inInitText(ret) {
		return true, nil
	}
	var p [maxCall]byte
	if _, err := u.Kernel.Space.ReadMemory(ctx, ret-maxCall, p[:]); err != nil {
		var hole *mmu.ReadError
		if errors.As(err, &hole) && ctx.Err() == nil {
			return false, nil
		}
		return false, err
	}
	if p[maxCall-callSize] == 0xe8 {
		return true, nil
	}
	for i := range maxCall - 1 {
		if p[i] == 0xff && p[i+1]>>3&7 == 2 {
			return true, nil
		}
	}
	return false, nil
}

// inInitText reports whether an address is in the kernel's initialization code, whose memory is
// freed after boot (free_initmem, arch/x86/mm/init.c). The first idle task was called from there.
func (u *Unwinder) inInitText(addr uint64) bool {
	start, ok1 := u.Kernel.Addr("_sinittext")
	end, ok2 := u.Kernel.Addr("_einittext")
	return ok1 && ok2 && start <= addr && addr < end
}
