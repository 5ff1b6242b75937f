package unwind

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"physgdb/bridge"
	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/kmem"
	"physgdb/symbols/orc"
)

// ErrOffline is the error for a CPU that was not up.
var ErrOffline = errors.New("offline")

// Registers returns the registers of a task. The error says why they are not known: most registers
// of a CPU that runs are not saved when a kernel dies.
func (u *Unwinder) Registers(ctx context.Context, t *linux.Task) (*Registers, error) {
	cpus, err := u.Kernel.CPUs(ctx)
	if err != nil {
		return nil, err
	}
	for i := range cpus {
		switch c := &cpus[i]; {
		case c.Current == t.Addr:
			return u.running(ctx, c, t)
		case c.Offline && c.Idle == t.Addr: // its switch frame is older
			return nil, fmt.Errorf("registers not known: CPU %d was %w", c.ID, ErrOffline)
		}
	}
	regs, err := u.switchedOut(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("registers of task %d: %w", t.PID, err)
	}
	return regs, nil
}

// running returns the registers of the task that a CPU ran: those of the oops if there was one,
// otherwise those that the handler of a crash kernel saved, otherwise those of the function in
// which the CPU waits after the death of the kernel.
func (u *Unwinder) running(ctx context.Context, c *linux.CPU, t *linux.Task) (*Registers, error) {
	var missing error
	for _, look := range []func(context.Context, *linux.CPU, *linux.Task) (*Registers, error){u.oopsed, u.noteOrResting, u.Resting} {
		regs, err := look(ctx, c, t)
		if regs != nil || ctx.Err() != nil {
			return regs, err
		}
		missing = cmp.Or(missing, refused(err))
	}
	if missing != nil {
		return nil, fmt.Errorf("registers not known: CPU %d was running, and where they may be cannot be read: %w", c.ID, missing)
	}
	return nil, fmt.Errorf("registers not known: CPU %d was running and left no trace of them", c.ID)
}

// refused returns err if memory that should exist could not be read, and nil if nothing is mapped.
func refused(err error) error {
	var access *bridge.AccessError
	if errors.As(err, &access) {
		return err
	}
	return nil
}

// oopsed returns the registers of the first oops, if it was on this CPU and its stack has not been
// reused (exec_summary_regs, arch/x86/kernel/dumpstack.c).
func (u *Unwinder) oopsed(ctx context.Context, c *linux.CPU, t *linux.Task) (*Registers, error) {
	count, err := u.Kernel.ReadSymbol(ctx, "die_counter", 4)
	addr, ok := u.Kernel.Addr("exec_summary_regs")
	if err != nil || count == 0 || !ok {
		return nil, err
	}
	regs, err := u.readPtRegs(ctx, addr)
	if err != nil || regs.User() || !t.OnStack(regs.SP()) && !c.OnStack(regs.SP()) {
		return nil, err
	}
	if gone, err := u.stackReused(ctx, c, t, regs); gone || err != nil {
		return nil, err
	}
	regs.From = "the oops"
	return regs, nil
}

// stackReused reports whether a CPU's stack is no longer that of its oops. A task that is killed by
// an oops restarts at the top of its stack (rewind_stack_and_make_dead, arch/x86/entry/entry_64.S),
// which panics if it was init, and new tasks get the stacks of tasks that exited. The last frames
// of the CPU then lead to the end of the stack without the frame of the oops.
func (u *Unwinder) stackReused(ctx context.Context, c *linux.CPU, t *linux.Task, oops *Registers) (bool, error) {
	for _, look := range []func(context.Context, *linux.CPU, *linux.Task) (*Registers, error){u.crashNote, u.Resting} {
		last, err := look(ctx, c, t)
		if ctx.Err() != nil {
			return false, err
		}
		if last == nil {
			continue
		}
		b, err := u.Unwind(ctx, last)
		if err != nil {
			return false, err
		}
		through := slices.ContainsFunc(b.Frames, func(f Frame) bool { return f.PC == oops.PC() && f.SP == oops.SP() })
		return b.Err == nil && !through, nil
	}
	return false, nil
}

// A note of crash_notes is an ELF note of type NT_PRSTATUS with the name CORE and a struct
// elf_prstatus, whose registers are in the order of struct user_regs_struct
// (include/linux/elfcore.h, arch/x86/include/asm/user_64.h).
const (
	crashNoteSize = 12 + 8 + 336
	crashNoteRegs = 12 + 8 + 112
)

// userRegs is the order of the registers in struct user_regs_struct up to rip; orig_rax has no
// DWARF number.
var userRegs = [...]symbols.Reg{
	symbols.R15, symbols.R14, symbols.R13, symbols.R12, symbols.RBP, symbols.RBX, symbols.R11, symbols.R10, symbols.R9,
	symbols.R8, symbols.RAX, symbols.RCX, symbols.RDX, symbols.RSI, symbols.RDI, symbols.CFA, symbols.RIP,
}

// crashNote returns the registers of this CPU that a machine with a crash kernel saved. It returns
// nil on other machines.
func (u *Unwinder) crashNote(ctx context.Context, c *linux.CPU, _ *linux.Task) (*Registers, error) {
	base, err := u.Kernel.ReadSymbol(ctx, "crash_notes", 8)
	if err != nil || base == 0 {
		return nil, err
	}
	note := make([]byte, crashNoteSize)
	if _, err := u.Kernel.Space.ReadMemory(ctx, c.Base+base, note); err != nil {
		return nil, err
	}
	const prstatus = 1
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(note[at:]) }
	if u32(0) != 5 || u32(8) != prstatus || !bytes.HasPrefix(note[12:], []byte("CORE\x00")) {
		return nil, nil
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(note[crashNoteRegs+8*i:]) }
	regs := &Registers{From: "the crash notes", Exact: true, HasFlags: true, OrigRAX: -1}
	for i, reg := range userRegs {
		if reg != symbols.CFA {
			regs.set(reg, word(i))
		}
	}
	n := len(userRegs)
	regs.CS, regs.Flags, regs.SS = uint16(word(n)), word(n+1), uint16(word(n+3))
	regs.set(symbols.RSP, word(n+2))
	return regs, nil
}

// noteOrResting returns the crash note of a CPU, or the result of Resting if the note cannot be
// unwound. The panicking CPU saves the address of a label in __crash_kexec(), which the compiler
// may put after the last instruction, where no unwind table has an entry (crash_setup_regs,
// arch/x86/include/asm/kexec.h).
func (u *Unwinder) noteOrResting(ctx context.Context, c *linux.CPU, t *linux.Task) (*Registers, error) {
	note, err := u.crashNote(ctx, c, t)
	if note == nil {
		return nil, err
	}
	b, err := u.Unwind(ctx, note)
	if err != nil || b.Err == nil || len(b.Frames) > 1 {
		return note, err
	}
	resting, err := u.Resting(ctx, c, t)
	if resting == nil && ctx.Err() == nil {
		return note, nil
	}
	return resting, err
}

// Resting returns the registers in the function of [linux.RestingPlaces] that a CPU is in, which it
// finds by a return address into the function on one of the stacks of the CPU. It returns nil if
// there is none; the error then says what could not be read, if anything.
//
// Such a word may be left from an earlier call, so that the stack is unwound from it. The first one
// that unwinds to the end of the stack is used, or else the one with the most frames.
func (u *Unwinder) Resting(ctx context.Context, c *linux.CPU, t *linux.Task) (*Registers, error) {
	stacks := append([]linux.Stack{}, c.Stacks...)
	if t != nil {
		stacks = append(stacks, t.OwnStack())
	}
	words, missing, err := u.readStackWords(ctx, stacks)
	if err != nil {
		return nil, err
	}
	if err := u.restoreAllReturns(ctx, c, t, stacks, words); err != nil {
		return nil, err
	}
	var best resting
	for _, name := range linux.RestingPlaces() {
		fn, ok := u.symbol(name)
		if !ok {
			continue
		}
		for i := range stacks {
			if err := u.restsIn(ctx, fn, stacks[i], words[i], &best); err != nil {
				return nil, err
			}
			if best.whole {
				break
			}
		}
		if best.regs != nil {
			if err := u.takeStackCallsRBP(ctx, best.regs); err != nil {
				return nil, err
			}
			return best.regs, u.backToCall(ctx, best.regs)
		}
	}
	return nil, missing
}

// restoreAllReturns sets the original return addresses in the words of the stacks of a CPU and its
// task.
func (u *Unwinder) restoreAllReturns(ctx context.Context, c *linux.CPU, t *linux.Task, stacks []linux.Stack, words [][]uint64) error {
	owner := c.Current
	if t != nil {
		owner = t.Addr
	}
	for i := range stacks {
		if err := u.restoreReturns(ctx, owner, stacks[i].Start, words[i]); err != nil {
			return err
		}
	}
	return nil
}

// resting is a candidate for the place of a CPU.
type resting struct {
	regs   *Registers
	frames int  // of the backtrace
	whole  bool // the backtrace is complete
}

// symbol returns a function with its run-time address.
func (u *Unwinder) symbol(name string) (symbols.Symbol, bool) {
	if u.Kernel.Symbols == nil {
		return symbols.Symbol{}, false
	}
	s, ok := u.Kernel.Symbols.Lookup(name)
	if ok && s.Size == 0 { // an alias
		first, _, _ := u.Kernel.Symbols.At(s.Addr)
		s.Size = first.Size
	}
	s.Addr += u.Kernel.Slide
	return s, ok && s.Size > 0
}

// readStackWords reads whole stacks. Pages that cannot be read are zeros, which are no addresses;
// missing says why a page that should exist is missing.
func (u *Unwinder) readStackWords(ctx context.Context, stacks []linux.Stack) (words [][]uint64, missing, err error) {
	const maxStack = 1 << 20 // bytes
	var ops []mmu.Op
	data := make([][]byte, len(stacks))
	for i, s := range stacks {
		if s.End < s.Start || s.End-s.Start > maxStack {
			continue
		}
		data[i] = make([]byte, s.End-s.Start)
		for at := 0; at < len(data[i]); at += mmu.PageSize { // page by page: one may be missing
			ops = append(ops, mmu.Op{VA: s.Start + uint64(at), Buf: data[i][at:min(at+mmu.PageSize, len(data[i]))]})
		}
	}
	if err := u.Kernel.Space.ReadAll(ctx, ops); err != nil {
		return nil, nil, err
	}
	for i := range ops {
		missing = cmp.Or(missing, refused(ops[i].Err))
	}
	words = make([][]uint64, len(stacks))
	for i, p := range data {
		words[i] = make([]uint64, len(p)/8)
		for j := range words[i] {
			words[i][j] = binary.LittleEndian.Uint64(p[8*j:])
		}
	}
	return words, missing, nil
}

// maxResting bounds the size of a function in which CPUs rest, in bytes, if it is not known.
const maxResting = 4096

// restsIn searches a stack for return addresses into fn, from the top down, until one unwinds to
// the end of the stack. One without a caller does not count. If the size of fn is not known, the
// caller must have called it.
func (u *Unwinder) restsIn(ctx context.Context, fn symbols.Symbol, s linux.Stack, words []uint64, best *resting) error {
	size := fn.Size
	if size == linux.UnknownSize {
		size = maxResting
	}
	for i := len(words) - 1; i >= 0; i-- {
		if words[i] <= fn.Addr || words[i] > fn.Addr+size {
			continue
		}
		regs := &Registers{From: "the function in which the CPU rests, " + fn.Name, AtRest: true}
		regs.set(symbols.RIP, words[i])
		regs.set(symbols.RSP, s.Start+8*uint64(i+1))
		if err := u.findFramePointer(ctx, regs, fn, words[i+1:]); err != nil {
			return err
		}
		b, err := u.Unwind(ctx, regs)
		if err != nil {
			return err
		}
		if fn.Size == linux.UnknownSize {
			if called, err := u.wasCalled(ctx, fn, b); err != nil {
				return err
			} else if !called {
				continue
			}
		}
		if n := len(b.Frames); b.Err == nil || n > max(1, best.frames) {
			*best = resting{regs, n, b.Err == nil}
		}
		if best.whole {
			return nil
		}
	}
	return nil
}

// wasCalled reports whether the innermost function of a backtrace was called at the address of fn.
func (u *Unwinder) wasCalled(ctx context.Context, fn symbols.Symbol, b *Backtrace) (bool, error) {
	if len(b.Frames) < 2 {
		return false, nil
	}
	called, direct, err := u.callBefore(ctx, b.Frames[1].PC)
	return direct && called == fn.Addr, err
}

// findFramePointer sets RBP for a function that uses it as its frame pointer, such as panic(). The
// function pushed RBP of its caller directly below its return address. The return address is
// recognized by the call before it or, in a kernel with frame pointers, by the two words together.
func (u *Unwinder) findFramePointer(ctx context.Context, regs *Registers, fn symbols.Symbol, above []uint64) error {
	const maxDistance = 256 // words: more than the frame of any of these functions
	rule, err := u.Kernel.FrameRule(ctx, regs.PC()-1)
	if err != nil {
		keeps, err := u.Kernel.FramePointers(ctx)
		if err != nil || !keeps {
			return err
		}
	} else if rule.Base != symbols.RBP {
		return nil
	}
	for i, word := range above[:min(len(above), maxDistance)] {
		if !u.Kernel.InText(word) {
			continue
		}
		called, direct, err := u.callBefore(ctx, word)
		if err != nil {
			return err
		}
		if direct && called == fn.Addr {
			regs.set(symbols.RBP, regs.SP()+8*uint64(i)-8)
			return nil
		}
	}
	return u.guessFramePointer(ctx, regs, above[:min(len(above), maxDistance)])
}

// takeStackCallsRBP sets RBP, if it is not known, to its value in symbols.StackCall if that is one
// of the callers: there it is the word at RSP. A function that changes RBP saves it first, so the
// value is valid if no function in between has saved it. lldb unwinds StackCall by RBP.
func (u *Unwinder) takeStackCallsRBP(ctx context.Context, regs *Registers) error {
	fn, ok := u.symbol(orc.StackCall)
	if _, known := regs.Get(symbols.RBP); known || !ok {
		return nil
	}
	b, err := u.Unwind(ctx, regs)
	if err != nil {
		return err
	}
	for i := range b.Frames {
		f := &b.Frames[i]
		if at := f.CallSite(); at >= fn.Addr && at-fn.Addr < fn.Size {
			bp, err := kmem.ReadUint(ctx, u.Kernel.Space, f.SP, 8)
			if err == nil {
				regs.set(symbols.RBP, bp)
			}
			return ctx.Err()
		}
		rule, err := u.Kernel.FrameRule(ctx, f.CallSite())
		saves := slices.ContainsFunc(rule.Saved(), func(s symbols.SavedReg) bool { return s.Reg == symbols.RBP })
		if err != nil || saves || rule.Kind != symbols.CallFrame {
			return ctx.Err()
		}
	}
	return nil
}

// backToCall moves RIP from after a direct call to the call itself, whose line a debugger should
// show.
func (u *Unwinder) backToCall(ctx context.Context, regs *Registers) error {
	_, direct, err := u.callBefore(ctx, regs.PC())
	if direct {
		regs.set(symbols.RIP, regs.PC()-callSize)
		regs.Exact = true
	}
	return err
}

// callSize is the size of a direct call in bytes: E8 and the distance.
const callSize = 5

// callBefore returns the function that the direct call before a return address calls, if there is
// one.
func (u *Unwinder) callBefore(ctx context.Context, ret uint64) (function uint64, direct bool, err error) {
	var p [callSize]byte
	if _, err := u.Kernel.Space.ReadMemory(ctx, ret-callSize, p[:]); err != nil {
		var hole *mmu.ReadError
		if errors.As(err, &hole) {
			return 0, false, nil
		}
		return 0, false, err
	}
	distance := int32(binary.LittleEndian.Uint32(p[1:]))
	return ret + uint64(int64(distance)), p[0] == 0xe8, nil
}
