package elfsynth

import (
	"github.com/go-delve/delve/pkg/dwarf/frame"

	"physgdb/symbols"
)

// frameState is a row of a table of call frame information: where the caller's registers are.
type frameState struct {
	cfa           cfa
	rip, rsp, rbp place
}

// cfa is how the canonical frame address is computed.
type cfa struct {
	base   symbols.Reg
	offset int64
	deref  bool // it is the word at base+offset
}

// place is the place of a register's value, or the value.
type place struct {
	how    how
	base   symbols.Reg // for atReg
	offset int64
}

type how uint8

const (
	unknown   how = iota
	unchanged     // it is in the register
	isCFA         // it is the CFA
	atCFA         // it is in memory at CFA+offset
	atReg         // it is in memory at base+offset
	isLink        // it is *(RSP)+offset
	atLink        // it is in memory at *(RSP)+offset
	isBorder      // it is an address in a border, whose number is offset
)

// unwound is the initial state of all functions: at the first instruction of one that was called.
// That RSP is the CFA needs no instruction. ORC knows no more of the caller's registers than these.
var unwound = frameState{
	cfa: cfa{base: symbols.RSP, offset: 8},
	rip: place{how: atCFA, offset: -8},
	rsp: place{how: isCFA},
	rbp: place{how: unchanged},
}

// Registers beyond those of package symbols: System V psABI AMD64, figure 3.36.
const (
	rflags symbols.Reg = 49
	cs     symbols.Reg = 51
	ss     symbols.Reg = 52
	gsBase symbols.Reg = 59
)

// savedAt is a register and where it is, relative to the CFA.
type savedAt struct {
	reg    symbols.Reg
	offset int64
}

// unknownOthers are the registers that are unknown in a frame after a call. Of registers that no
// instruction mentions debuggers show the callee's values, which may be wrong.
var unknownOthers = []symbols.Reg{
	symbols.RAX, symbols.RDX, symbols.RCX, symbols.RBX, symbols.RSI, symbols.RDI, symbols.R8, symbols.R9, symbols.R10,
	symbols.R11, symbols.R12, symbols.R13, symbols.R14, symbols.R15, rflags,
}

// ptRegs is where struct pt_regs has registers, which is user interface
// (arch/x86/include/uapi/asm/ptrace.h).
var ptRegs = []savedAt{
	{symbols.R15, 0}, {symbols.R14, 8}, {symbols.R13, 16}, {symbols.R12, 24}, {symbols.RBP, 32}, {symbols.RBX, 40},
	{symbols.R11, 48}, {symbols.R10, 56}, {symbols.R9, 64}, {symbols.R8, 72}, {symbols.RAX, 80}, {symbols.RCX, 88},
	{symbols.RDX, 96}, {symbols.RSI, 104}, {symbols.RDI, 112}, {symbols.RIP, 128}, {cs, 136}, {rflags, 144},
	{symbols.RSP, 152}, {ss, 160},
}

// partialRegs is what the CPU pushes for an exception: Intel SDM volume 3, figure 6-9.
var partialRegs = []savedAt{{symbols.RIP, 0}, {cs, 8}, {rflags, 16}, {symbols.RSP, 24}, {ss, 32}}

// next is the state after a rule has come into force.
func (s frameState) next(r *symbols.FrameRule) frameState {
	if r.Kind == symbols.NoFrame || r.Kind == symbols.LastFrame || !aligned(r) {
		s.rip = place{}
		return s
	}
	s = unwound
	s.cfa = cfa{r.Base, r.Offset, r.Deref == symbols.DerefAfterOffset}
	for _, saved := range r.Saved() { // RBP alone
		s.rbp = place{atReg, saved.Base, int64(saved.Offset)}
		if saved.Base == symbols.CFA {
			s.rbp = place{how: atCFA, offset: int64(saved.Offset)}
		}
	}
	if r.Deref == symbols.DerefBeforeOffset {
		s.otherStack(r.Offset)
	}
	switch r.Kind {
	case symbols.RegsFrame:
		s.rip = place{how: isBorder, offset: ptRegsBorder}
	case symbols.PartialRegsFrame:
		s.rip = place{how: isBorder, offset: partialRegsBorder}
	}
	return s
}

// otherStack rewrites the state of code that has switched to another stack, whose top word points
// to the first one: what ORC has as the CFA is *(RSP)+offset. The CFA by which debuggers know a
// frame stays on the second stack.
func (s *frameState) otherStack(offset int64) {
	s.cfa = unwound.cfa
	s.rip = place{how: isBorder, offset: stackBorder}
	s.rsp = place{how: isLink, offset: offset}
	if s.rbp.how == atCFA {
		s.rbp = place{how: atLink, offset: s.rbp.offset + offset}
	}
}

// aligned: no frame has anything that is not at a multiple of 8.
func aligned(r *symbols.FrameRule) bool {
	offsets := r.Offset
	for _, saved := range r.Saved() {
		offsets |= int64(saved.Offset)
	}
	return offsets%8 == 0
}

// change writes the instructions that lead from one state to the next.
func (b *frameBuilder) change(before, now *frameState) {
	b.defCFA(before.cfa, now.cfa)
	if before.rip != now.rip { // borders aside
		b.place(symbols.RIP, now.rip)
	}
	if before.rsp != now.rsp {
		b.place(symbols.RSP, now.rsp)
	}
	if before.rbp != now.rbp {
		b.place(symbols.RBP, now.rbp)
	}
}

func (b *frameBuilder) place(reg symbols.Reg, p place) {
	switch p.how {
	case unknown:
		b.bytes(frame.DW_CFA_undefined, byte(reg))
	case unchanged:
		b.bytes(frame.DW_CFA_same_value, byte(reg))
	case isCFA:
		b.bytes(frame.DW_CFA_val_offset, byte(reg), 0)
	case atCFA:
		b.offset(reg, p.offset)
	case atReg:
		b.bytes(frame.DW_CFA_expression, byte(reg))
		b.block(breg(p.base, p.offset))
	case isLink:
		b.bytes(frame.DW_CFA_val_expression, byte(reg))
		b.block(breg(symbols.RSP, 0).deref().plus(p.offset))
	case atLink:
		b.bytes(frame.DW_CFA_expression, byte(reg))
		b.block(breg(symbols.RSP, 0).deref().plus(p.offset))
	}
}
