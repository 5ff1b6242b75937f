package linux

import (
	"context"
	"errors"
	"fmt"

	"physgdb/mmu"
	"physgdb/symbols"
)

// callerWithoutEntry finds the caller of code that no unwind table covers; uncovered says so. In a kernel that keeps frame
// pointers (CONFIG_UNWINDER_FRAME_POINTER) that is all code. In others it is code made at run time, which is taken to keep a
// frame pointer, as the code of BPF programs does.
func (k *Kernel) callerWithoutEntry(ctx context.Context, r *Registers, pc uint64, uncovered error) (*Registers, error) {
	wild, err := k.isWild(ctx, r)
	if err != nil {
		return nil, err
	}
	if wild {
		next, err := k.apply(ctx, r, topOfStack())
		return k.ifCalled(ctx, next, err, uncovered)
	}
	keeps, err := k.keepsFramePointers(ctx)
	if err != nil {
		return nil, err
	}
	if keeps {
		return k.callerByFramePointer(ctx, r)
	}
	const largest = 64 << 10 // bytes of a frame
	bp, known := r.Get(symbols.RBP)
	if !known || bp < r.SP() || bp-r.SP() >= largest {
		return nil, uncovered
	}
	next, err := k.apply(ctx, r, symbols.ByFramePointer())
	if next != nil {
		next.guessed = true
	}
	return k.ifCalled(ctx, next, err, uncovered)
}

// topOfStack is the rule after a call before the first instruction of the function.
func topOfStack() symbols.FrameRule {
	return symbols.FrameRule{Kind: symbols.CallFrame, Base: symbols.RSP, Offset: 8, CalleeSaved: true}
}

// isWild reports whether the next instruction is at an address that cannot be executed: the function has just been called,
// through a bad pointer. User space is no code of the kernel (SMEP).
func (k *Kernel) isWild(ctx context.Context, r *Registers) (bool, error) {
	if !r.Exact {
		return false, nil
	}
	if pc := r.PC(); pc < mmu.Upper.First {
		return true, nil
	}
	mapping, err := k.Space.Translate(ctx, r.PC())
	if errors.Is(err, mmu.ErrNotPresent) || errors.Is(err, mmu.ErrNonCanonical) {
		return true, nil
	}
	return err == nil && mapping.Flags&mmu.Executable == 0, err
}

// ifCalled returns the registers of a caller if their RIP is behind a call, and else uncovered.
func (k *Kernel) ifCalled(ctx context.Context, next *Registers, err, uncovered error) (*Registers, error) {
	if err != nil {
		return nil, err
	}
	called, err := k.behindCall(ctx, next.PC())
	if err != nil {
		return nil, err
	}
	if !called {
		return nil, uncovered
	}
	return next, nil
}

// apply finds the registers of the caller by a rule for calls.
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

// behindCall reports whether an address is one of kernel code, behind a call: direct, or through a register or memory. Such a
// call has 2 to 7 bytes, and FF /2 is in it (Intel SDM vol. 2, CALL).
func (k *Kernel) behindCall(ctx context.Context, ret uint64) (bool, error) {
	const longest = 7
	if !k.inText(ret) {
		return false, nil
	}
	var p [longest]byte
	if _, err := k.Space.ReadMemory(ctx, ret-longest, p[:]); err != nil {
		var hole *mmu.ReadError
		if errors.As(err, &hole) && ctx.Err() == nil {
			return false, nil
		}
		return false, err
	}
	if p[longest-callSize] == 0xe8 {
		return true, nil
	}
	for i := range longest - 1 {
		if p[i] == 0xff && p[i+1]>>3&7 == 2 {
			return true, nil
		}
	}
	return false, nil
}
