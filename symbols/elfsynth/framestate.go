package elfsynth

import "physgdb/symbols"

// frameState is a row of a table of call frame information: where the caller's registers are.
type frameState struct {
	cfa           cfa
	rip, rsp, rbp place
	others        otherRegs
}

// cfa is how the canonical frame address is computed.
type cfa struct {
	base   symbols.Reg
	offset int64
	deref  bool // it is the word at base+offset
}

// simple: two of the kind need no more than their difference.
func (c cfa) simple() bool { return !c.deref }

// place tells where the value of a register is, or what it is.
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
	atLink        // it is in memory at *(RSP)+offset
	isLink        // it is *(RSP)+offset
)

// otherRegs tells where all other registers are.
type otherRegs uint8

const (
	othersUnknown otherRegs = iota
	othersInPtRegs
	othersPartial // RFLAGS, CS and SS alone
)

// unwound is the initial state of all functions: at the first instruction of one that was called. ORC knows no more of
// the caller's registers than these. What it does not know a debugger shall not take for the callee's, as it does with
// registers that no instruction mentions.
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
)

// savedAt is a register and where it is, relative to the CFA.
type savedAt struct {
	reg    symbols.Reg
	offset int64
}

// unknownOthers are the registers of which a frame behind a call tells nothing.
var unknownOthers = []symbols.Reg{
	symbols.RAX, symbols.RDX, symbols.RCX, symbols.RBX, symbols.RSI, symbols.RDI, symbols.R8, symbols.R9, symbols.R10,
	symbols.R11, symbols.R12, symbols.R13, symbols.R14, symbols.R15, rflags,
}

// ptRegs is where struct pt_regs has registers, which is user interface (arch/x86/include/uapi/asm/ptrace.h). RIP, RSP
// and RBP are told apart from the others.
var ptRegs = []savedAt{
	{symbols.R15, 0}, {symbols.R14, 8}, {symbols.R13, 16}, {symbols.R12, 24}, {symbols.RBX, 40}, {symbols.R11, 48},
	{symbols.R10, 56}, {symbols.R9, 64}, {symbols.R8, 72}, {symbols.RAX, 80}, {symbols.RCX, 88}, {symbols.RDX, 96},
	{symbols.RSI, 104}, {symbols.RDI, 112}, {cs, 136}, {rflags, 144}, {ss, 160},
}

// partialRegs is what the CPU pushes for an exception: Intel SDM volume 3, figure 6-9.
var partialRegs = []savedAt{{cs, 8}, {rflags, 16}, {ss, 32}}

// next is the state after a rule has come into force.
func (s frameState) next(r *symbols.FrameRule) frameState {
	if r.Kind == symbols.NoFrame || r.Kind == symbols.LastFrame || !aligned(r) {
		s.rip = place{}
		return s
	}
	s = frameState{cfa: cfa{r.Base, r.Offset, r.Deref == symbols.DerefAfterOffset}, rbp: place{how: unchanged}}
	switch r.Kind {
	case symbols.CallFrame:
		s.rip, s.rsp = place{how: atCFA, offset: -8}, place{how: isCFA}
	case symbols.RegsFrame:
		s.rip, s.rsp, s.rbp = place{how: atCFA, offset: 128}, place{how: atCFA, offset: 152}, place{how: atCFA, offset: 32}
		s.others = othersInPtRegs
	case symbols.PartialRegsFrame:
		s.rip, s.rsp = place{how: atCFA}, place{how: atCFA, offset: 24}
		s.others = othersPartial
	}
	for _, saved := range r.Saved() { // RBP alone
		s.rbp = place{atReg, saved.Base, int64(saved.Offset)}
		if saved.Base == symbols.CFA {
			s.rbp = place{how: atCFA, offset: int64(saved.Offset)}
		}
	}
	if r.Deref == symbols.DerefBeforeOffset {
		s.acrossStacks(r.Offset)
	}
	return s
}

// acrossStacks rewrites the state of code that has switched to another stack, whose top word links to the first one:
// CFA = *(RSP)+offset. Debuggers take a stack that goes on at a lower address for corrupt (gdb, between two normal
// frames), and where stacks lie is chance. With a CFA that stays on the second stack it is the caller's frame that lies on another
// stack, and that caller is mostly an interrupt's entry, for which they do not mind.
func (s *frameState) acrossStacks(offset int64) {
	for _, p := range []*place{&s.rip, &s.rsp, &s.rbp} {
		switch p.how {
		case isCFA:
			*p = place{how: isLink, offset: offset}
		case atCFA:
			*p = place{how: atLink, offset: p.offset + offset}
		}
	}
	s.cfa = unwound.cfa
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
func (w *cfiWriter) change(before, now *frameState) {
	switch {
	case before.cfa == now.cfa:
	case now.cfa.deref:
		w.expression([]byte{cfaDefCFAExpression}, breg(now.cfa.base, now.cfa.offset).deref())
	default:
		w.defCFA(before.cfa, now.cfa)
	}
	if before.rip != now.rip {
		w.place(symbols.RIP, now.rip)
	}
	if before.rsp != now.rsp {
		w.place(symbols.RSP, now.rsp)
	}
	if before.rbp != now.rbp {
		w.place(symbols.RBP, now.rbp)
	}
	if before.others != now.others {
		w.others(now.others)
	}
}

func (w *cfiWriter) place(reg symbols.Reg, p place) {
	switch p.how {
	case unknown:
		w.undefined(reg)
	case unchanged:
		w.bytes(cfaSameValue, byte(reg))
	case isCFA:
		w.bytes(cfaValOffset, byte(reg), 0)
	case atCFA:
		w.offset(reg, p.offset)
	case atReg:
		w.expression([]byte{cfaExpression, byte(reg)}, breg(p.base, p.offset))
	case atLink:
		w.expression([]byte{cfaExpression, byte(reg)}, breg(symbols.RSP, 0).deref().plus(p.offset))
	case isLink:
		w.expression([]byte{cfaValExpression, byte(reg)}, breg(symbols.RSP, 0).deref().plus(p.offset))
	}
}

func (w *cfiWriter) others(o otherRegs) {
	saved := ptRegs
	switch o {
	case othersPartial:
		saved = partialRegs
		fallthrough
	case othersUnknown:
		w.undefined(unknownOthers...)
	}
	if o == othersUnknown {
		for _, reg := range []symbols.Reg{cs, ss} {
			w.bytes(cfaSameValue, byte(reg))
		}
		return
	}
	for _, s := range saved {
		w.offset(s.reg, s.offset)
	}
}
