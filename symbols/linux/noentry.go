package linux

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"physgdb/mmu"
	"physgdb/symbols"
)

// callerWithoutEntry finds the caller of code that no unwind table covers; uncovered is the error
// that says so. In a kernel with frame pointers (CONFIG_UNWINDER_FRAME_POINTER) that is all code.
// In others it is code generated at run time, which is assumed to have a frame pointer, as BPF
// programs do.
func (k *Kernel) callerWithoutEntry(ctx context.Context, r *Registers, uncovered error) (*Registers, error) {
	next, err := k.callerOfWild(ctx, r, uncovered)
	if err != uncovered {
		return next, err
	}
	keeps, err := k.FramePointers(ctx)
	if err != nil {
		return nil, err
	}
	if keeps {
		return k.callerByFramePointer(ctx, r)
	}
	const maxFrame = 64 << 10 // bytes
	bp, known := r.Get(symbols.RBP)
	if !known || bp < r.SP() || bp-r.SP() >= maxFrame {
		return nil, uncovered
	}
	next, err = k.apply(ctx, r, symbols.ByFramePointer())
	if next != nil {
		next.guessed = true
	}
	return k.ifCalled(ctx, next, err, uncovered)
}

// callerOfWild finds the caller of an address that is not code. It returns the error otherwise if r
// is not the result of such a call.
func (k *Kernel) callerOfWild(ctx context.Context, r *Registers, otherwise error) (*Registers, error) {
	if !r.Exact {
		return nil, otherwise
	}
	wild, err := k.isWild(ctx, r.PC())
	if err != nil {
		return nil, err
	}
	if !wild {
		return nil, otherwise
	}
	next, err := k.apply(ctx, r, topOfStack())
	return k.ifCalled(ctx, next, err, otherwise)
}

// WildCalls returns the addresses without code that the CPUs have called, by the backtraces of
// their tasks.
func (k *Kernel) WildCalls(ctx context.Context) ([]uint64, error) {
	cpus, err := k.CPUs(ctx)
	if err != nil {
		return nil, err
	}
	var wild []uint64
	for i := range cpus {
		called, err := k.wildCallsOf(ctx, &cpus[i])
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
func (k *Kernel) wildCallsOf(ctx context.Context, c *CPU) ([]uint64, error) {
	task, err := k.TaskAt(ctx, c.Current)
	if err != nil {
		return nil, ctx.Err()
	}
	regs, err := k.Registers(ctx, task)
	if err != nil {
		return nil, ctx.Err()
	}
	b, err := k.Unwind(ctx, regs)
	if err != nil {
		return nil, err
	}
	var wild []uint64
	for _, f := range b.Frames {
		if !f.Exact {
			continue
		}
		if is, err := k.isWild(ctx, f.PC); err == nil && is {
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
func (k *Kernel) isWild(ctx context.Context, pc uint64) (bool, error) {
	if pc < mmu.Upper.First {
		return true, nil
	}
	mapping, err := k.Space.Translate(ctx, pc)
	if errors.Is(err, mmu.ErrNotPresent) || errors.Is(err, mmu.ErrNonCanonical) {
		return true, nil
	}
	return err == nil && mapping.Flags&mmu.Executable == 0, err
}

// ifCalled returns the registers of a caller if their RIP follows a call, and otherwise the error
// uncovered.
func (k *Kernel) ifCalled(ctx context.Context, next *Registers, err, uncovered error) (*Registers, error) {
	if err != nil {
		return nil, err
	}
	called, err := k.afterCall(ctx, next.PC())
	if err != nil {
		return nil, err
	}
	if !called {
		return nil, uncovered
	}
	return next, nil
}

// apply returns the registers of the caller, given a rule for calls.
func (k *Kernel) apply(ctx context.Context, r *Registers, rule symbols.FrameRule) (*Registers, error) {
	cfa, err := k.frameAddress(ctx, r, &rule)
	if err != nil {
		return nil, err
	}
	next, err := k.returned(ctx, r, &rule, cfa)
	if err != nil {
		return nil, fmt.Errorf("caller of the code at %#x: %w", r.PC(), err)
	}
	return next, k.restore(ctx, r, next, &rule, cfa)
}

// afterCall reports whether an address is one of kernel code that follows a call: a direct one, or
// one through a register or memory. Such a call has 2 to 7 bytes and contains FF /2 (Intel SDM vol.
// 2, CALL).
func (k *Kernel) afterCall(ctx context.Context, ret uint64) (bool, error) {
	const maxCall = 7
	if !k.inText(ret) {
		return false, nil
	}
	if k.inInitText(ret) {
		return true, nil
	}
	var p [maxCall]byte
	if _, err := k.Space.ReadMemory(ctx, ret-maxCall, p[:]); err != nil {
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
func (k *Kernel) inInitText(addr uint64) bool {
	start, ok1 := k.Addr("_sinittext")
	end, ok2 := k.Addr("_einittext")
	return ok1 && ok2 && start <= addr && addr < end
}
