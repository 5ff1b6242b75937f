package linux

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"physgdb/symbols/linux/kmem"

	"physgdb/bridge"
	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/symbols/orc"
)

// ErrOffline says that a CPU was not up, so that there is nothing to be known of it.
var ErrOffline = errors.New("offline")

// Registers finds the registers of a task. Where they cannot be known the error says why: a dead kernel leaves no trace
// of what most registers held on a CPU that ran.
func (k *Kernel) Registers(ctx context.Context, t *Task) (*Registers, error) {
	cpus, err := k.CPUs(ctx)
	if err != nil {
		return nil, err
	}
	for i := range cpus {
		switch c := &cpus[i]; {
		case c.Current == t.Addr:
			return k.running(ctx, c, t)
		case c.Offline && c.Idle == t.Addr: // where it gave up the CPU was before that went
			return nil, fmt.Errorf("registers not known: CPU %d was %w", c.ID, ErrOffline)
		}
	}
	regs, err := k.switchedOut(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("registers of task %d: %w", t.PID, err)
	}
	return regs, nil
}

// running finds the registers of the task that a CPU ran when the machine died: those of the oops if there was one,
// then those that a crash kernel's handler saved, then those of the function in which the CPU rests for ever.
func (k *Kernel) running(ctx context.Context, c *CPU, t *Task) (*Registers, error) {
	var missing error
	for _, look := range []func(context.Context, *CPU, *Task) (*Registers, error){k.oopsed, k.leadingNote, k.Resting} {
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

// refused returns an error if memory that should be there is not, or did not answer, rather than that nothing is mapped.
func refused(err error) error {
	var access *bridge.AccessError
	if errors.As(err, &access) {
		return err
	}
	return nil
}

// oopsed returns the registers of the first oops, if that was on this CPU, and the stack is still what it was then
// (exec_summary_regs, arch/x86/kernel/dumpstack.c).
func (k *Kernel) oopsed(ctx context.Context, c *CPU, t *Task) (*Registers, error) {
	count, err := k.ReadSymbol(ctx, "die_counter", 4)
	addr, ok := k.Addr("exec_summary_regs")
	if err != nil || count == 0 || !ok {
		return nil, err
	}
	regs, err := k.readPtRegs(ctx, addr)
	if err != nil || regs.User() || !t.onStack(regs.SP()) && !c.onStack(regs.SP()) {
		return nil, err
	}
	if gone, err := k.wentOn(ctx, c, t, regs); gone || err != nil {
		return nil, err
	}
	regs.From = "the oops"
	return regs, nil
}

// wentOn reports whether a CPU's stack is not that of its oops any more: a task that is made to exit begins anew at the top
// of its stack (rewind_stack_and_make_dead, arch/x86/entry/entry_64.S), which kills the machine if it was init, and others get
// the stack of one that is gone. What the CPU did last leads to the end of that stack then, and not by way of the oops.
func (k *Kernel) wentOn(ctx context.Context, c *CPU, t *Task, oops *Registers) (bool, error) {
	for _, look := range []func(context.Context, *CPU, *Task) (*Registers, error){k.crashNote, k.Resting} {
		last, err := look(ctx, c, t)
		if ctx.Err() != nil {
			return false, err
		}
		if last == nil {
			continue
		}
		b, err := k.Unwind(ctx, last)
		if err != nil {
			return false, err
		}
		through := slices.ContainsFunc(b.Frames, func(f Frame) bool { return f.PC == oops.PC() && f.SP == oops.SP() })
		return b.Err == nil && !through, nil
	}
	return false, nil
}

func (t *Task) onStack(sp uint64) bool { return t.stack().contains(sp) }

func (t *Task) stack() stack { return stack{"TASK", t.Stack, t.StackEnd()} }

func (c *CPU) onStack(sp uint64) bool {
	_, ok := c.stackAt(sp)
	return ok
}

// A note of crash_notes: an ELF note of type NT_PRSTATUS by the name CORE, then a struct elf_prstatus, whose registers
// stand in the order of struct user_regs_struct (include/linux/elfcore.h, arch/x86/include/asm/user_64.h).
const (
	crashNoteSize = 12 + 8 + 336
	crashNoteRegs = 12 + 8 + 112
)

// userRegs is the order of the registers in a struct user_regs_struct up to rip; orig_rax has no number.
var userRegs = [...]symbols.Reg{
	symbols.R15, symbols.R14, symbols.R13, symbols.R12, symbols.RBP, symbols.RBX, symbols.R11, symbols.R10, symbols.R9,
	symbols.R8, symbols.RAX, symbols.RCX, symbols.RDX, symbols.RSI, symbols.RDI, symbols.CFA, symbols.RIP,
}

// crashNote returns the registers that a machine with a crash kernel saved of this CPU as it died. It is nil on others.
func (k *Kernel) crashNote(ctx context.Context, c *CPU, _ *Task) (*Registers, error) {
	base, err := k.ReadSymbol(ctx, "crash_notes", 8)
	if err != nil || base == 0 {
		return nil, err
	}
	note := make([]byte, crashNoteSize)
	if _, err := k.Space.ReadMemory(ctx, c.Base+base, note); err != nil {
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

// leadingNote returns the crash note of a CPU, or the function in which the CPU rests if the caller of the note's function
// cannot be found. The CPU that panics takes the address in its note from a label in __crash_kexec(), and the compiler may put
// that label behind the last instruction, where no unwind table has an entry (crash_setup_regs, arch/x86/include/asm/kexec.h).
func (k *Kernel) leadingNote(ctx context.Context, c *CPU, t *Task) (*Registers, error) {
	note, err := k.crashNote(ctx, c, t)
	if note == nil {
		return nil, err
	}
	b, err := k.Unwind(ctx, note)
	if err != nil || b.Err == nil || len(b.Frames) > 1 {
		return note, err
	}
	resting, err := k.Resting(ctx, c, t)
	if resting == nil && ctx.Err() == nil {
		return note, nil
	}
	return resting, err
}

// restingPlaces are the functions in which a CPU spends the time after its kernel's death: those of the CPU that panicked,
// of one that panicked while another did, of those that were stopped, and of those that a crash kernel's start stopped
// (kernel/panic.c, arch/x86/kernel/{process,reboot}.c). Inner ones come first.
var restingPlaces = []string{
	"vpanic", "panic", "panic_smp_self_stop", "nmi_panic_self_stop", "stop_this_cpu", "crash_nmi_callback",
}

// Resting finds the function in which a CPU rests, and its registers, by a return address into it on one of the stacks
// that the CPU can have been on. It is nil if there is none; the error then says what could not be read, if anything.
//
// Such a word may be left over from before, so the stack is unwound from there: what leads to its end is believed at
// once, and else what leads furthest, which is as far as the unwind tables reach.
func (k *Kernel) Resting(ctx context.Context, c *CPU, t *Task) (*Registers, error) {
	stacks := append([]stack{}, c.stacks...)
	if t != nil {
		stacks = append(stacks, t.stack())
	}
	words, missing, err := k.readStackWords(ctx, stacks)
	if err != nil {
		return nil, err
	}
	if err := k.putBackAll(ctx, c, t, stacks, words); err != nil {
		return nil, err
	}
	var best resting
	for _, name := range restingPlaces {
		fn, ok := k.symbol(name)
		if !ok {
			continue
		}
		for i := range stacks {
			if err := k.restsIn(ctx, fn, stacks[i], words[i], &best); err != nil {
				return nil, err
			}
			if best.whole {
				break
			}
		}
		if best.regs != nil {
			if err := k.takeStackCallsRBP(ctx, best.regs); err != nil {
				return nil, err
			}
			return best.regs, k.backToCall(ctx, best.regs)
		}
	}
	return nil, missing
}

// putBackAll puts the true return addresses into the words of the stacks that a CPU and its task use.
func (k *Kernel) putBackAll(ctx context.Context, c *CPU, t *Task, stacks []stack, words [][]uint64) error {
	owner := c.Current
	if t != nil {
		owner = t.Addr
	}
	for i := range stacks {
		if err := k.putBack(ctx, owner, stacks[i].start, words[i]); err != nil {
			return err
		}
	}
	return nil
}

// resting is a place where a CPU may rest.
type resting struct {
	regs   *Registers
	frames int  // that lead there
	whole  bool // they are all there are
}

// symbol finds a function's run-time addresses.
func (k *Kernel) symbol(name string) (symbols.Symbol, bool) {
	if k.Symbols == nil {
		return symbols.Symbol{}, false
	}
	s, ok := k.Symbols.Lookup(name)
	if ok && s.Size == 0 { // an alias
		first, _, _ := k.Symbols.At(s.Addr)
		s.Size = first.Size
	}
	s.Addr += k.Slide
	return s, ok && s.Size > 0
}

// readStackWords reads whole stacks. Pages that are not there read as zeros, which are no addresses; missing tells why one that
// should be there is not.
func (k *Kernel) readStackWords(ctx context.Context, stacks []stack) (words [][]uint64, missing, err error) {
	const most = 1 << 20 // bytes of a stack
	var ops []mmu.Op
	data := make([][]byte, len(stacks))
	for i, s := range stacks {
		if s.end < s.start || s.end-s.start > most {
			continue
		}
		data[i] = make([]byte, s.end-s.start)
		for at := 0; at < len(data[i]); at += mmu.PageSize { // each page for itself: one may be missing
			ops = append(ops, mmu.Op{VA: s.start + uint64(at), Buf: data[i][at:min(at+mmu.PageSize, len(data[i]))]})
		}
	}
	if err := k.Space.ReadAll(ctx, ops); err != nil {
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

// largestResting is where a function in which CPUs rest ends at the latest, in bytes, if its size is not known.
const largestResting = 4096

// restsIn looks on one stack for return addresses into fn from the top down, until one is found from which the stack
// unwinds to its end. One whose caller cannot be found does not count. Where the size of fn is not known, the caller must
// have called it.
func (k *Kernel) restsIn(ctx context.Context, fn symbols.Symbol, s stack, words []uint64, best *resting) error {
	size := fn.Size
	if size == unknownSize {
		size = largestResting
	}
	for i := len(words) - 1; i >= 0; i-- {
		if words[i] <= fn.Addr || words[i] > fn.Addr+size {
			continue
		}
		regs := &Registers{From: "the function in which the CPU rests, " + fn.Name, AtRest: true}
		regs.set(symbols.RIP, words[i])
		regs.set(symbols.RSP, s.start+8*uint64(i+1))
		if err := k.findFramePointer(ctx, regs, fn, words[i+1:]); err != nil {
			return err
		}
		b, err := k.Unwind(ctx, regs)
		if err != nil {
			return err
		}
		if fn.Size == unknownSize {
			if called, err := k.wasCalled(ctx, fn, b); err != nil {
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
func (k *Kernel) wasCalled(ctx context.Context, fn symbols.Symbol, b *Backtrace) (bool, error) {
	if len(b.Frames) < 2 {
		return false, nil
	}
	called, direct, err := k.callBefore(ctx, b.Frames[1].PC)
	return direct && called == fn.Addr, err
}

// findFramePointer finds RBP for a function that uses it as its frame pointer, as panic() does: the function pushed the
// caller's right below its own return address, and that is recognised by the call before it, or else, in a kernel that keeps
// frame pointers, by the two words together.
func (k *Kernel) findFramePointer(ctx context.Context, regs *Registers, fn symbols.Symbol, above []uint64) error {
	const farthest = 256 // words: more than the frame of any of these functions
	rule, err := k.frameRule(ctx, regs.PC()-1)
	if err != nil {
		keeps, err := k.FramePointers(ctx)
		if err != nil || !keeps {
			return err
		}
	} else if rule.Base != symbols.RBP {
		return nil
	}
	for i, word := range above[:min(len(above), farthest)] {
		if !k.inText(word) {
			continue
		}
		called, direct, err := k.callBefore(ctx, word)
		if err != nil {
			return err
		}
		if direct && called == fn.Addr {
			regs.set(symbols.RBP, regs.SP()+8*uint64(i)-8)
			return nil
		}
	}
	return k.guessFramePointer(ctx, regs, above[:min(len(above), farthest)])
}

// takeStackCallsRBP sets RBP, if it is not known, to its value in orc.StackCall, if that is one of the callers: there it is the
// word at RSP. A function that changes RBP saves it first, so the value is still valid if no function in between has saved it. lldb
// unwinds StackCall by RBP.
func (k *Kernel) takeStackCallsRBP(ctx context.Context, regs *Registers) error {
	fn, ok := k.symbol(orc.StackCall)
	if _, known := regs.Get(symbols.RBP); known || !ok {
		return nil
	}
	b, err := k.Unwind(ctx, regs)
	if err != nil {
		return err
	}
	for i := range b.Frames {
		f := &b.Frames[i]
		if at := f.CallSite(); at >= fn.Addr && at-fn.Addr < fn.Size {
			bp, err := kmem.ReadUint(ctx, k.Space, f.SP, 8)
			if err == nil {
				regs.set(symbols.RBP, bp)
			}
			return ctx.Err()
		}
		rule, err := k.frameRule(ctx, f.CallSite())
		saves := slices.ContainsFunc(rule.Saved(), func(s symbols.SavedReg) bool { return s.Reg == symbols.RBP })
		if err != nil || saves || rule.Kind != symbols.CallFrame {
			return ctx.Err()
		}
	}
	return nil
}

// inText reports whether an address can be one of code: of the kernel's image or of a module.
func (k *Kernel) inText(addr uint64) bool { return addr >= k.Text && addr < moduleEnd }

// moduleEnd is where modules' addresses end (MODULES_END, arch/x86/include/asm/pgtable_64_types.h).
const moduleEnd = 0xffff_ffff_ff00_0000

// backToCall moves RIP from behind a direct call to the call itself, which is the line that a debugger should show.
func (k *Kernel) backToCall(ctx context.Context, regs *Registers) error {
	_, direct, err := k.callBefore(ctx, regs.PC())
	if direct {
		regs.set(symbols.RIP, regs.PC()-callSize)
		regs.Exact = true
	}
	return err
}

// callSize is how many bytes a direct call has: E8 and the distance.
const callSize = 5

// callBefore tells which function the direct call before a return address calls, if there is one.
func (k *Kernel) callBefore(ctx context.Context, ret uint64) (function uint64, direct bool, err error) {
	var p [callSize]byte
	if _, err := k.Space.ReadMemory(ctx, ret-callSize, p[:]); err != nil {
		var hole *mmu.ReadError
		if errors.As(err, &hole) {
			return 0, false, nil
		}
		return 0, false, err
	}
	distance := int32(binary.LittleEndian.Uint32(p[1:]))
	return ret + uint64(int64(distance)), p[0] == 0xe8, nil
}
