// Package unwind finds out what the tasks and CPUs of a kernel did: their registers, and the
// functions that called each other, across stacks, up to user space.
package unwind

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/kmem"
)

// Unwinder reads the registers of the tasks and CPUs of a kernel and unwinds their stacks.
type Unwinder struct {
	// Kernel is the kernel whose stacks these are.
	Kernel *linux.Kernel

	ptRegs      kmem.Lazy[*kmem.Struct[ptRegs]]
	switchFrame kmem.Lazy[*kmem.Struct[switchFrame]]
	byStack     kmem.Lazy[[]*linux.Task] // in the order of their stacks
}

// New returns an Unwinder of a kernel.
func New(k *linux.Kernel) *Unwinder { return &Unwinder{Kernel: k} }

// Frame is a function call in progress.
type Frame struct {
	PC uint64 // virtual
	SP uint64 // virtual: the stack pointer at PC
	// Exact reports whether PC is the next instruction: the function was interrupted, or the
	// registers are from it. Otherwise PC is a return address.
	Exact bool
	// Regs are the registers of an interrupted function, or nil.
	Regs *Registers
	// Guessed reports whether no unwind table covers the function that this one called, usually
	// code generated at run time, and a frame pointer was assumed there.
	Guessed bool
}

// CallSite returns an address within the current instruction of the function, with which symbols
// and lines are looked up.
func (f *Frame) CallSite() uint64 {
	if f.Exact || f.PC == 0 {
		return f.PC
	}
	return f.PC - 1
}

// Backtrace is the function calls in progress of a task, innermost first.
type Backtrace struct {
	Frames []Frame
	// User are the user space registers with which the kernel was entered, or nil.
	User *Registers
	// Err says why the trace ends before the task's first function or user space, or is nil.
	Err error
}

// maxFrames bounds a backtrace. The stacks of one CPU have far fewer frames.
const maxFrames = 1024

// Unwind returns the frames from registers in the kernel up to the first function of the task or
// user space, across stacks, by the kernel's unwind tables. The error is ctx's.
func (u *Unwinder) Unwind(ctx context.Context, regs *Registers) (*Backtrace, error) {
	b := &Backtrace{}
	now := *regs
	seen := map[[2]uint64]bool{}
	for !now.User() {
		at := [2]uint64{now.PC(), now.SP()}
		if seen[at] || len(b.Frames) == maxFrames {
			b.Err = fmt.Errorf("the stack runs in a circle at %#x", now.SP())
			break
		}
		seen[at] = true
		b.add(&now)
		next, err := u.caller(ctx, &now, b.Frames[len(b.Frames)-1].CallSite())
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, errLastFrame) {
			return b, nil
		}
		if err != nil {
			b.Err = err
			return b, nil
		}
		now = *next
	}
	if now.User() {
		b.User = &now
	}
	return b, nil
}

func (b *Backtrace) add(r *Registers) {
	f := Frame{PC: r.PC(), SP: r.SP(), Exact: r.Exact, Guessed: r.guessed}
	if r.HasFlags {
		whole := *r
		f.Regs = &whole
	}
	b.Frames = append(b.Frames, f)
}

// errLastFrame is the error for the caller of the first function of a task.
var errLastFrame = errors.New("the first function of its task")

// caller returns the registers of the caller of the function at pc, or of the code that it
// interrupted. r are its registers.
func (u *Unwinder) caller(ctx context.Context, r *Registers, pc uint64) (*Registers, error) {
	rule, uncovered := u.Kernel.FrameRule(ctx, pc)
	if uncovered != nil {
		return u.callerWithoutEntry(ctx, r, uncovered)
	}
	switch rule.Kind {
	case symbols.LastFrame:
		return nil, errLastFrame
	case symbols.NoFrame:
		return u.callerOfWild(ctx, r, fmt.Errorf("nothing is known of the caller of the code at %#x", pc))
	}
	cfa, err := u.frameAddress(ctx, r, &rule)
	if err != nil {
		return nil, fmt.Errorf("caller of the code at %#x: %w", pc, err)
	}
	var next *Registers
	switch rule.Kind {
	case symbols.RegsFrame:
		next, err = u.readPtRegs(ctx, cfa)
	case symbols.PartialRegsFrame:
		next, err = u.readIretFrame(ctx, r, cfa)
	default:
		next, err = u.returned(ctx, r, &rule, cfa)
	}
	if err != nil {
		return nil, fmt.Errorf("caller of the code at %#x: %w", pc, err)
	}
	if rule.Kind != symbols.RegsFrame {
		err = u.restore(ctx, r, next, &rule, cfa)
	}
	switch {
	case err != nil:
		return nil, err
	case next.PC() == 0 && !next.Exact:
		return nil, fmt.Errorf("caller of the code at %#x: its return address is 0", pc)
	}
	return next, nil
}

// frameAddress computes the CFA of a frame.
func (u *Unwinder) frameAddress(ctx context.Context, r *Registers, rule *symbols.FrameRule) (uint64, error) {
	base, ok := r.Get(rule.Base)
	if !ok {
		return 0, errors.New("the register that its frame is found by is not known")
	}
	switch rule.Deref {
	case symbols.DerefAfterOffset:
		return kmem.ReadUint(ctx, u.Kernel.Space, base+uint64(rule.Offset), 8)
	case symbols.DerefBeforeOffset:
		v, err := kmem.ReadUint(ctx, u.Kernel.Space, base, 8)
		return v + uint64(rule.Offset), err
	}
	return base + uint64(rule.Offset), nil
}

// returned returns the registers after a function returns.
func (u *Unwinder) returned(ctx context.Context, r *Registers, rule *symbols.FrameRule, cfa uint64) (*Registers, error) {
	word, err := kmem.ReadUint(ctx, u.Kernel.Space, cfa-8, 8)
	if err != nil {
		return nil, err
	}
	pc, err := u.TrueReturn(ctx, cfa-8, word)
	if err != nil {
		return nil, err
	}
	next := &Registers{Exact: rule.Signal}
	kept := []symbols.Reg{symbols.RBP}
	if rule.CalleeSaved {
		kept = append(kept, symbols.RBX, symbols.R12, symbols.R13, symbols.R14, symbols.R15)
	}
	for _, reg := range kept {
		if v, ok := r.Get(reg); ok {
			next.set(reg, v)
		}
	}
	next.set(symbols.RSP, cfa)
	next.set(symbols.RIP, pc)
	return next, nil
}

// readIretFrame returns the registers of the code that an exception interrupted, from the frame
// that the CPU saved: RIP, CS, RFLAGS, RSP and SS, 8 bytes each (Intel SDM vol. 3A, 6.14.2). The
// handler has not changed the other registers yet.
func (u *Unwinder) readIretFrame(ctx context.Context, r *Registers, addr uint64) (*Registers, error) {
	var p [5 * 8]byte
	if _, err := u.Kernel.Space.ReadMemory(ctx, addr, p[:]); err != nil {
		return nil, err
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(p[8*i:]) }
	next := *r
	next.Exact, next.HasFlags, next.OrigRAX = true, true, -1
	next.set(symbols.RIP, word(0))
	next.CS, next.Flags, next.SS = uint16(word(1)), word(2), uint16(word(4))
	next.set(symbols.RSP, word(3))
	return &next, nil
}

// restore reads the registers that a function saved. A register that cannot be read becomes
// unknown: most frames are unwound without it.
func (u *Unwinder) restore(ctx context.Context, r, next *Registers, rule *symbols.FrameRule, cfa uint64) error {
	for _, s := range rule.Saved() {
		base, ok := cfa, true
		if s.Base != symbols.CFA {
			base, ok = r.Get(s.Base)
		}
		if !ok {
			next.forget(s.Reg)
			continue
		}
		v, err := kmem.ReadUint(ctx, u.Kernel.Space, base+uint64(int64(s.Offset)), 8)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			next.forget(s.Reg)
		default:
			next.set(s.Reg, v)
		}
	}
	return nil
}
