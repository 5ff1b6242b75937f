package elfsynth

import (
	"encoding/binary"
	"slices"

	"physgdb/symbols"
)

// A kernel with CONFIG_UNWINDER_FRAME_POINTER has no ORC tables; package linux, framepointer.go, says what its frames look
// like. Here expressions in two CIEs say the same. They look at the registers of a frame, and at the instruction where it is,
// when a debugger unwinds it, so that no text of the kernel is read in advance.

// framePointers makes a .debug_frame section of a program whose functions keep frame pointers, and symbols for its borders.
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

// endOfCode returns where the code ends that begins at a mark: at the next symbol that does not name padding, or with the code
// itself, behind which the borders may begin.
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

// lastFunctions are those of a CPU's start and of a new task (arch/x86/kernel/head_64.S, arch/x86/entry/entry_64.S).
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

// withBorderSection adds executable memory for borders behind a kernel that keeps frame pointers. There is nothing in memory.
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

// framedRules are where a frame's CFA and the caller's RSP and RBP are, as expressions. For those of the registers the CFA is
// on the expression's stack.
type framedRules struct{ cfa, rsp, rbp []byte }

func (b *frameBuilder) framedCIE(r framedRules) uint32 {
	at := len(b.out)
	b.commonEntry("", unknownOthers, func() {
		b.bytes(cfaDefCFAExpression)
		b.block(&cfiWriter{r.cfa})
		b.bytes(cfaValExpression, byte(symbols.RSP))
		b.block(&cfiWriter{r.rsp})
		b.bytes(cfaValExpression, byte(symbols.RBP))
		b.block(&cfiWriter{r.rbp})
	})
	return uint32(at)
}

// Parts of expressions.
var (
	// otherStack is not 0 if RBP points below RSP, or far above: to the frame on the stack that the function was on before it
	// called another on the stack for interrupts. No frame is as long as 64 KiB.
	otherStackByRBP = slices.Concat(breg(symbols.RBP, 0).out, breg(symbols.RSP, 0).out, []byte{opMinus, opLit0 + 16, opShr})
	// entered is not 0 if registers were saved in a struct pt_regs: at RSP if RBP is 0, as after a system call, or at RBP-1.
	entered = slices.Concat(breg(symbols.RBP, 0).out, []byte{opLit0 + 1, opAnd}, breg(symbols.RBP, 0).out,
		[]byte{opLit0, opEq, opOr})

	framePointer  = breg(symbols.RBP, 16).out // the CFA of a function with a frame
	savedRBP      = breg(symbols.RBP, 0).deref().out
	returnAddress = []byte{opLit0 + 8, opMinus, opDeref} // at the CFA
	sameCFA       = []byte{}                             // it is on the stack
)

// Rules of C code. RSP+8 as the CFA of a frame that goes on on another stack only tells it from others.
var codeRules = framedRules{
	cfa: choose(otherStackByRBP, breg(symbols.RSP, 8).out, frameSoFar()),
	rsp: choose(otherStackByRBP, framePointer, sameCFA),
	rbp: choose(slices.Concat([]byte{opDup}, framePointer, []byte{opEq}, otherStackByRBP, []byte{opOr}),
		savedRBP, breg(symbols.RBP, 0).out),
}

// Rules of the code that enters the kernel.
var entryRules = framedRules{
	cfa: choose(entered,
		choose(breg(symbols.RBP, 0).out, breg(symbols.RBP, -1).out, breg(symbols.RSP, 0).out),
		choose(otherStackByRBP, breg(symbols.RSP, 8).out, framePointer)),
	rsp: choose(entered, sameCFA, choose(otherStackByRBP, framePointer, sameCFA)),
	rbp: choose(entered, breg(symbols.RBP, 0).out, savedRBP),
}

// choose is the expression that computes yes if cond is not 0, and else no. What was on the stack before stays below. lldb does
// not jump to the end of an expression, so there is an operation.
func choose(cond, yes, no []byte) []byte {
	jump := func(op byte, to int) []byte { return binary.LittleEndian.AppendUint16([]byte{op}, uint16(to)) }
	return slices.Concat(cond, jump(opBra, len(no)+jumpSize), no, jump(opSkip, len(yes)), yes, []byte{opNop})
}

// Sizes of parts of expressions, in bytes: a jump; what ends a choice; an address in a border.
const (
	jumpSize     = 3
	chooseEnd    = 1
	toBorderSize = 1 + wideSLEB
)

// frameSoFar is the CFA of a function that may have been interrupted before its frame was complete or after it was gone, or
// that has none, as short functions in assembly language.
func frameSoFar() []byte {
	const pop, leave, ret, jmp, call = 0x5d, 0xc9, 0xc3, 0xe9, 0xe8
	var (
		called = breg(symbols.RSP, 8).out
		next   = func(b byte) []byte { return equal(1, breg(symbols.RIP, 0).out, uint32(b)) }
		before = func(b byte) []byte { return equal(1, breg(symbols.RIP, -1).out, uint32(b)) }
		either = func(a, b []byte) []byte { return slices.Concat(a, b, []byte{opOr}) }
		both   = func(a, b []byte) []byte { return slices.Concat(a, b, []byte{opAnd}) }
	)
	gone := both(either(before(pop), before(leave)), either(next(ret), next(jmp)))
	// The word at RSP is an address in the program, behind a direct call to at most 4 KiB before RIP.
	top := breg(symbols.RSP, 0).deref().out
	pushed := slices.Concat(top, breg(symbols.RBP, 0).out, []byte{opEq}) // and RBP is not set yet
	inProgram := slices.Concat(top, breg(symbols.RIP, 0).out, []byte{opXor, opLit0 + 26, opShr, opLit0, opEq})
	isCall := equal(1, slices.Concat(top, []byte{opLit0 + 5, opMinus}), call)
	distance := slices.Concat(top, []byte{opLit0 + 4, opMinus, opDerefSize, 4, opConst1u, 32, opShl,
		opConst1u, 32, opShra})
	justHere := slices.Concat(breg(symbols.RIP, 0).out, top, distance, []byte{opPlus, opMinus, opLit0 + 12, opShr, opLit0, opEq})
	noFrame := choose(inProgram, choose(both(isCall, justHere), called, framePointer), framePointer)
	return choose(pushed, breg(symbols.RSP, 16).out, choose(gone, called, noFrame))
}

// equal is 1 if the number of a size at an address is v, else 0.
func equal(size byte, at []byte, v uint32) []byte {
	number := binary.LittleEndian.AppendUint32([]byte{opConst4u}, v)
	return slices.Concat(at, []byte{opDerefSize, size}, number, []byte{opEq})
}

// toBorder is an address in a border: RIP plus a number that is not known yet.
func toBorder() []byte {
	return append([]byte{opBreg0 + byte(symbols.RIP)}, make([]byte, wideSLEB)...)
}

// codeRIP writes the rule for the RIP of the caller of C code.
func (b *frameBuilder) codeRIP(from, to uint64) {
	b.bytes(cfaValExpression, byte(symbols.RIP))
	b.block(&cfiWriter{choose(otherStackByRBP, toBorder(), returnAddress)})
	b.crossings = append(b.crossings, crossing{stackBorder, from, to, len(b.out) - chooseEnd - wideSLEB})
}

// entryRIP writes the rule for the RIP of the caller of code that enters the kernel.
func (b *frameBuilder) entryRIP(from, to uint64) {
	b.bytes(cfaValExpression, byte(symbols.RIP))
	b.block(&cfiWriter{choose(entered, toBorder(), choose(otherStackByRBP, toBorder(), returnAddress))})
	end := len(b.out) - chooseEnd
	inner := end - toBorderSize - jumpSize - chooseEnd
	b.crossings = append(b.crossings,
		crossing{ptRegsBorder, from, to, end - wideSLEB}, crossing{stackBorder, from, to, inner - wideSLEB})
}
