package elfsynth

import (
	"encoding/binary"
	"slices"

	"github.com/go-delve/delve/pkg/dwarf/frame"
	"github.com/go-delve/delve/pkg/dwarf/op"

	"physgdb/symbols"
)

// A kernel with CONFIG_UNWINDER_FRAME_POINTER has no ORC tables; package linux, framepointer.go,
// says what its frames look like. Here expressions in two CIEs say the same. They look at the
// registers of a frame, and at the instruction where it is, when a debugger unwinds it, so that no
// text of the kernel is read in advance.

// framePointers makes a .debug_frame section of a program whose functions keep frame pointers, and
// symbols for its borders.
func framePointers(p *Program) (section []byte, syms []symbols.Symbol, err error) {
	b := newFrameBuilder(p)
	if err := b.measure(p.Sections); err != nil {
		return nil, nil, err
	}
	border, hasBorders := borderSection(p)
	if hasBorders {
		b.gap = gap{border.Addr, border.Addr + border.Size}
	}
	k := newFramedCode(p.Symbols)
	code := b.framedCIE(codeRules)
	entry := b.framedCIE(entryRules)
	for i, m := range b.marks {
		if !m.code || !m.symbol || m.prefix || m.addr >= b.gap.begin && m.addr < b.gap.end {
			continue
		}
		end := b.endOfCode(i)
		if m.replaced {
			b.replacedReturn(m.addr, end)
			continue
		}
		at, cie := len(b.out), code
		b.out = append(b.out, make([]byte, fdeHeader)...)
		switch {
		case k.last[m.addr]:
			cie = 0
			b.place(symbols.RIP, place{how: unknown})
		case !hasBorders || end-m.addr > minGap:
			b.place(symbols.RIP, unwound.rip)
		case m.addr >= k.entryStart && m.addr < k.entryEnd:
			cie = entry
			b.entryRIP(m.addr, end)
		default:
			b.codeRIP(m.addr, end)
		}
		b.header(at, cie, m.addr, end)
	}
	return b.out, slices.Concat(b.writeBorders(), b.replaced), nil
}

// endOfCode returns where the code ends that begins at a mark: at the next symbol that does not
// name padding, or with the code itself, after which the borders may begin.
func (b *frameBuilder) endOfCode(i int) uint64 {
	for _, m := range b.marks[i+1:] {
		if !m.code || m.symbol && !m.prefix || m.addr == b.gap.begin {
			return m.addr
		}
	}
	return b.marks[i].addr
}

// framedCode is what is special in the code of a kernel that keeps frame pointers.
type framedCode struct {
	entryStart, entryEnd uint64          // of the code that saves registers in a struct pt_regs
	last                 map[uint64]bool // where functions begin that nothing called
}

// lastFunctions are those of a CPU's start and of a new task (arch/x86/kernel/head_64.S,
// arch/x86/entry/entry_64.S).
var lastFunctions = []string{
	"startup_64", "secondary_startup_64", "secondary_startup_64_no_verify", "common_startup_64", "start_cpu0",
	"ret_from_fork_asm",
}

func newFramedCode(all []symbols.Symbol) *framedCode {
	k := &framedCode{last: map[uint64]bool{}}
	fork, inC := uint64(0), false // since Linux 6.6 ret_from_fork is in C, and ret_from_fork_asm calls it
	for _, s := range all {
		switch {
		case s.Name == "__entry_text_start":
			k.entryStart = s.Addr
		case s.Name == "__entry_text_end":
			k.entryEnd = s.Addr
		case s.Name == "ret_from_fork":
			fork = s.Addr
		case slices.Contains(lastFunctions, s.Name):
			k.last[s.Addr] = true
			inC = inC || s.Name == "ret_from_fork_asm"
		}
	}
	if fork != 0 && !inC {
		k.last[fork] = true
	}
	return k
}

// borderName is the name of the section that borders of a program without gaps are in.
const borderName = ".borders"

// withBorderSection adds executable memory for borders after a kernel with frame pointers. There is
// nothing in memory.
func withBorderSection(p *Program) *Program {
	const size = (len(borders)*(minGap+2) + 0xfff) &^ 0xfff
	if p.ORC != nil || !p.FramePointers || len(p.Sections) == 0 {
		return p
	}
	if k := newFramedCode(p.Symbols); k.entryStart >= k.entryEnd {
		return p // a module: interrupts do not enter there
	}
	last := p.Sections[len(p.Sections)-1]
	with := *p
	with.Sections = append(slices.Clone(p.Sections), Section{
		Name: borderName, Addr: (last.Addr + last.Size + 0xfff) &^ 0xfff, Size: uint64(size), Exec: true,
	})
	return &with
}

func borderSection(p *Program) (Section, bool) {
	i := slices.IndexFunc(p.Sections, func(s Section) bool { return s.Name == borderName })
	if i < 0 {
		return Section{}, false
	}
	return p.Sections[i], true
}

// framedRules are expressions for the CFA of a frame, which a debugger computes once, and for the
// caller's RBP, with the CFA on the expression's stack. What the caller's registers are found by
// must be the CFA, and RBP once at most: a debugger recomputes the RBP of a frame from that of the
// frame below each time, and so on down to the first.
type framedRules struct{ cfa, rbp []byte }

func (b *frameBuilder) framedCIE(r framedRules) uint32 {
	at := len(b.out)
	b.commonEntry("", unknownOthers, func() {
		b.bytes(frame.DW_CFA_def_cfa_expression)
		b.block(&cfiWriter{r.cfa})
		b.bytes(frame.DW_CFA_val_expression, byte(symbols.RBP))
		b.block(&cfiWriter{r.rbp})
	})
	return uint32(at)
}

// Parts of expressions. Those of the CFA leave it on the stack.
var (
	framePointer = breg(symbols.RBP, 16).out // the CFA of a function with a frame
	atCFA8       = expr(op.DW_OP_dup, op.DW_OP_lit8, op.DW_OP_minus, op.DW_OP_deref)
	atCFA16      = expr(op.DW_OP_dup, op.DW_OP_lit16, op.DW_OP_minus, op.DW_OP_deref)

	// isFramed is 1 on top of RBP if the CFA is that of a function with a frame.
	isFramed = slices.Concat(breg(symbols.RBP, 0).out, expr(op.DW_OP_dup, op.DW_OP_lit16, op.DW_OP_plus, op.DW_OP_pick, 2, op.DW_OP_eq))
	// dropRBP is what to do with RBP if it is not needed.
	dropRBP = expr(op.DW_OP_drop)
	// otherStack is 1 if the caller's RBP points below this frame, or far above: to a frame on the
	// stack from which the function was called on the stack for interrupts. No frame is as long as
	// 64 KiB. If RBP is odd or 0, the caller is entry code.
	otherStack = slices.Concat(
		atCFA16, expr(op.DW_OP_lit1, op.DW_OP_and, op.DW_OP_lit0, op.DW_OP_eq),
		expr(op.DW_OP_over), expr(op.DW_OP_lit16, op.DW_OP_minus, op.DW_OP_deref, op.DW_OP_lit0, op.DW_OP_eq, op.DW_OP_lit0, op.DW_OP_eq, op.DW_OP_and),
		expr(op.DW_OP_over), expr(op.DW_OP_lit16, op.DW_OP_minus, op.DW_OP_deref, op.DW_OP_pick, 2, op.DW_OP_minus, op.DW_OP_lit16, op.DW_OP_shr, op.DW_OP_lit0, op.DW_OP_eq, op.DW_OP_lit0, op.DW_OP_eq, op.DW_OP_and),
	)
	callersRBP = choose(isFramed, slices.Concat(dropRBP, atCFA16), nil)
)

// Rules of C code.
var codeRules = framedRules{cfa: frameSoFar(), rbp: callersRBP}

// Rules of the code that enters the kernel: a struct pt_regs is at RSP if RBP is 0, as after a
// system call, or at RBP-1.
var entryRules = framedRules{
	cfa: choose(slices.Concat(breg(symbols.RBP, 0).out, expr(op.DW_OP_lit1, op.DW_OP_and)), breg(symbols.RBP, -1).out,
		choose(breg(symbols.RBP, 0).out, framePointer, breg(symbols.RSP, 0).out)),
	rbp: callersRBP,
}

// choose is the expression that computes yes if cond is not 0, and else no. What was on the stack
// before stays below. lldb does not jump to the end of an expression, so there is an operation.
func choose(cond, yes, no []byte) []byte {
	jump := func(o op.Opcode, to int) []byte { return binary.LittleEndian.AppendUint16(expr(o), uint16(to)) }
	return slices.Concat(cond, jump(op.DW_OP_bra, len(no)+jumpSize), no, jump(op.DW_OP_skip, len(yes)), yes, expr(op.DW_OP_nop))
}

// Sizes of parts of expressions, in bytes: a jump; what ends a choice.
const jumpSize, chooseEnd = 3, 1

// frameSoFar is the CFA of a function that may have been interrupted before its frame was complete
// or after it was gone, or that has none, as short functions in assembly language.
func frameSoFar() []byte {
	const pop, leave, ret, jmp, call = 0x5d, 0xc9, 0xc3, 0xe9, 0xe8
	var (
		called = breg(symbols.RSP, 8).out
		next   = func(b byte) []byte { return equal(1, breg(symbols.RIP, 0).out, uint32(b)) }
		before = func(b byte) []byte { return equal(1, breg(symbols.RIP, -1).out, uint32(b)) }
		either = func(a, b []byte) []byte { return slices.Concat(a, b, expr(op.DW_OP_or)) }
		both   = func(a, b []byte) []byte { return slices.Concat(a, b, expr(op.DW_OP_and)) }
	)
	gone := both(either(before(pop), before(leave)), either(next(ret), next(jmp)))
	// The word at RSP is an address in the program, after a direct call to at most 4 KiB before
	// RIP.
	top := breg(symbols.RSP, 0).deref().out
	pushed := slices.Concat(top, breg(symbols.RBP, 0).out, expr(op.DW_OP_eq)) // and RBP is not set yet
	inProgram := slices.Concat(top, breg(symbols.RIP, 0).out, expr(op.DW_OP_xor, op.DW_OP_lit26, op.DW_OP_shr, op.DW_OP_lit0, op.DW_OP_eq))
	isCall := equal(1, slices.Concat(top, expr(op.DW_OP_lit5, op.DW_OP_minus)), call)
	distance := slices.Concat(top, expr(op.DW_OP_lit4, op.DW_OP_minus, op.DW_OP_deref_size, 4, op.DW_OP_const1u, 32, op.DW_OP_shl,
		op.DW_OP_const1u, 32, op.DW_OP_shra))
	justHere := slices.Concat(breg(symbols.RIP, 0).out, top, distance, expr(op.DW_OP_plus, op.DW_OP_minus, op.DW_OP_lit12, op.DW_OP_shr, op.DW_OP_lit0, op.DW_OP_eq))
	noFrame := choose(inProgram, choose(both(isCall, justHere), called, framePointer), framePointer)
	return choose(pushed, breg(symbols.RSP, 16).out, choose(gone, called, noFrame))
}

// equal is 1 if the number of a size at an address is v, else 0.
func equal(size byte, at []byte, v uint32) []byte {
	number := binary.LittleEndian.AppendUint32(expr(op.DW_OP_const4u), v)
	return slices.Concat(at, expr(op.DW_OP_deref_size, op.Opcode(size)), number, expr(op.DW_OP_eq))
}

// toBorder is an address in a border: RIP plus a number that is not known yet.
func toBorder() []byte {
	return append(expr(op.DW_OP_breg0+op.Opcode(symbols.RIP)), make([]byte, wideSLEB)...)
}

// codeRIP writes the rule for the RIP of the caller of C code.
func (b *frameBuilder) codeRIP(from, to uint64) {
	b.callersRIP(choose(otherStack, toBorder(), atCFA8), crossing{border: stackBorder, from: from, to: to})
}

// entryRIP writes the rule for the RIP of the caller of code that enters the kernel.
func (b *frameBuilder) entryRIP(from, to uint64) {
	notFramed := slices.Concat(isFramed, expr(op.DW_OP_lit0, op.DW_OP_eq))
	b.callersRIP(choose(notFramed, toBorder(), slices.Concat(dropRBP, atCFA8)), crossing{border: ptRegsBorder, from: from, to: to})
}

// callersRIP writes a rule whose expression is a choice that ends with an address in a border.
func (b *frameBuilder) callersRIP(rule []byte, c crossing) {
	b.bytes(frame.DW_CFA_val_expression, byte(symbols.RIP))
	b.block(&cfiWriter{rule})
	c.at = len(b.out) - chooseEnd - wideSLEB
	b.crossings = append(b.crossings, c)
}
