package symbols

// Reg is a register of x86-64 under its DWARF number (System V psABI AMD64, figure 3.36).
type Reg uint8

// The registers that unwinding deals with.
const (
	RAX Reg = iota
	RDX
	RCX
	RBX
	RSI
	RDI
	RBP
	RSP
	R8
	R9
	R10
	R11
	R12
	R13
	R14
	R15
	RIP

	// CFA is the canonical frame address as the base of a rule: the stack pointer as the caller had
	// it just before its call.
	CFA Reg = 0xff
)

// FrameKind says what lies at the CFA of a frame.
type FrameKind uint8

const (
	// NoFrame: the table knows this code and that nothing can be said about its caller.
	NoFrame FrameKind = iota
	// LastFrame: this code has no caller; the stack ends here normally.
	LastFrame
	// CallFrame: the return address is in the 8 bytes below the CFA, and the caller's RSP is the
	// CFA.
	CallFrame
	// RegsFrame: a struct pt_regs is at the CFA, with every register of what was interrupted.
	RegsFrame
	// PartialRegsFrame: what the CPU pushes for an exception is at the CFA: RIP, CS, RFLAGS, RSP,
	// SS, 8 bytes each.
	PartialRegsFrame
)

// Deref says whether and when memory is read to get from a base register to a CFA.
type Deref uint8

const (
	// DerefNone: CFA = Base + Offset.
	DerefNone Deref = iota
	// DerefAfterOffset: CFA = the 8 bytes at Base + Offset.
	DerefAfterOffset
	// DerefBeforeOffset: CFA = the 8 bytes at Base, plus Offset.
	DerefBeforeOffset
)

// FrameRule is the rule for computing the caller's registers from those at one address of code.
// Rules can be compared by ==, and are passed around without allocation.
type FrameRule struct {
	Kind FrameKind
	// Signal: the caller did not call, it was interrupted. Its RIP is the next instruction rather
	// than one after a call, so its own rule is that of RIP, not of RIP-1.
	Signal bool
	// CalleeSaved: for a CallFrame, RBX and R12 to R15 are either in Saved or still hold the
	// caller's values. Tables that follow RBP alone (ORC) leave them unknown. RBP, if not in Saved,
	// is always unchanged.
	CalleeSaved bool

	// The CFA, for the kinds that have one.
	Base   Reg
	Deref  Deref
	Offset int64

	saved  [maxSaved]SavedReg
	nsaved uint8
}

// maxSaved is room for every register that a function of C can save: the callee-saved six, and two
// to spare.
const maxSaved = 8

// SavedReg says that the caller's Reg lies in the 8 bytes at Base + Offset. Base is CFA or a
// register as the callee has it, before any is restored.
type SavedReg struct {
	Reg    Reg
	Base   Reg
	Offset int32
}

// Saved lists the registers found in memory besides those that the kind of frame implies; where
// both name a register, this list counts. It is valid as long as the rule.
func (r *FrameRule) Saved() []SavedReg { return r.saved[:r.nsaved] }

// Save adds a register to the list, or reports that there is no room for it.
func (r *FrameRule) Save(s SavedReg) bool {
	if int(r.nsaved) == len(r.saved) {
		return false
	}
	r.saved[r.nsaved] = s
	r.nsaved++
	return true
}

// ByFramePointer is the rule of code that keeps RBP as its frame pointer, past its first two
// instructions.
func ByFramePointer() FrameRule {
	r := FrameRule{Kind: CallFrame, Base: RBP, Offset: 16}
	r.Save(SavedReg{RBP, CFA, -16})
	return r
}

// Unwinder finds the rule of an address of code.
type Unwinder interface {
	// At returns false for addresses that the table does not cover, and for rules that a FrameRule
	// cannot express. For a return address ask with the address before it: the call may be the last
	// instruction of its function.
	At(pc uint64) (FrameRule, bool)
}

// CodeRule is the rule of a range of code.
type CodeRule struct {
	From, To uint64 // virtual; To is the first address after the range
	FrameRule
}
