package orc

import (
	"encoding/binary"

	"physgdb/symbols"
)

// orcLayout says what the 16 bits of flags in a struct orc_entry mean. In all formats bits 0-3 are
// the base of the CFA and bits 4-7 that of the saved RBP.
type orcLayout struct {
	kind   func(flags uint16) symbols.FrameKind
	signal func(flags uint16) bool
	bases  [16]orcBase // of the CFA, by number
	prevSP uint16      // number of the CFA itself, as a base of the saved RBP
	bp     uint16      // number of RBP
}

// orcBase is a register that a CFA can be relative to.
type orcBase struct {
	reg    symbols.Reg
	deref  symbols.Deref
	offset bool // sp_offset counts; the kernel ignores it for registers that hold the CFA itself
	ok     bool
}

var orcLayouts = [...]orcLayout{
	Linux4_14: {orcKind2(orcEnd4_14), orcInterrupted, orcBases, 1, 4},
	Linux6_3:  {orcKind2(orcEnd6_3), orcSignalBit(1 << 10), orcBases, 1, 4},
	Linux6_4:  {orcKind3, orcSignalBit(1 << 11), orcBases, 1, 4},
	Linux7_1:  {orcKind3, orcSignalBit(1 << 11), orcBases7_1, 8, 4},
}

// The bits that mark the end of a stack where that is not a type.
const (
	orcEnd4_14 = 1 << 10
	orcEnd6_3  = 1 << 11 // a bit that 4.14 does not use
)

var orcBases = [16]orcBase{
	2: {symbols.RDX, symbols.DerefNone, false, true},
	3: {symbols.RDI, symbols.DerefNone, false, true},
	4: {symbols.RBP, symbols.DerefNone, true, true},
	5: {symbols.RSP, symbols.DerefNone, true, true},
	6: {symbols.R10, symbols.DerefNone, false, true},
	7: {symbols.R13, symbols.DerefNone, false, true},
	8: {symbols.RBP, symbols.DerefAfterOffset, true, true},
	// Before 5.12 the offset came first, but no compiler and no hint made such an entry.
	9: {symbols.RSP, symbols.DerefBeforeOffset, true, true},
}

var orcBases7_1 = [16]orcBase{
	1:  {symbols.RAX, symbols.DerefNone, false, true},
	2:  {symbols.RDX, symbols.DerefNone, false, true},
	3:  {symbols.RSP, symbols.DerefNone, true, true},
	4:  {symbols.RBP, symbols.DerefNone, true, true},
	5:  {symbols.RDI, symbols.DerefNone, false, true},
	6:  {symbols.R10, symbols.DerefNone, false, true},
	7:  {symbols.R13, symbols.DerefNone, false, true},
	9:  {symbols.RSP, symbols.DerefBeforeOffset, true, true},
	10: {symbols.RBP, symbols.DerefAfterOffset, true, true},
}

const orcUnknown symbols.FrameKind = 0xff

// orcKind2 reads types of two bits: an entry without a base for the CFA ends the stack if the bit
// end says so, and else means that nothing is known.
func orcKind2(end uint16) func(uint16) symbols.FrameKind {
	kinds := [4]symbols.FrameKind{symbols.CallFrame, symbols.RegsFrame, symbols.PartialRegsFrame, orcUnknown}
	return func(flags uint16) symbols.FrameKind {
		switch {
		case flags&0xf != 0:
			return kinds[flags>>8&3]
		case flags&end != 0:
			return symbols.LastFrame
		}
		return symbols.NoFrame
	}
}

// orcKind3 reads types of three bits.
func orcKind3(flags uint16) symbols.FrameKind {
	kinds := [8]symbols.FrameKind{symbols.NoFrame, symbols.LastFrame, symbols.CallFrame, symbols.RegsFrame, symbols.PartialRegsFrame, orcUnknown, orcUnknown, orcUnknown}
	return kinds[flags>>8&7]
}

func orcSignalBit(bit uint16) func(uint16) bool {
	return func(flags uint16) bool { return flags&bit != 0 }
}

// orcInterrupted replaces the signal bit before 6.3: saved registers belong to interrupted code.
func orcInterrupted(flags uint16) bool { return flags>>8&3 != 0 }

// rule decodes one entry.
func (l *orcLayout) rule(entry []byte) (symbols.FrameRule, bool) {
	spOffset := int16(binary.LittleEndian.Uint16(entry))
	bpOffset := int16(binary.LittleEndian.Uint16(entry[2:]))
	flags := binary.LittleEndian.Uint16(entry[4:])

	kind := l.kind(flags)
	switch kind {
	case symbols.NoFrame, symbols.LastFrame:
		return symbols.FrameRule{Kind: kind}, true
	case orcUnknown:
		return symbols.FrameRule{}, false
	}
	base := &l.bases[flags&0xf]
	if !base.ok {
		return symbols.FrameRule{}, false
	}
	r := symbols.FrameRule{Kind: kind, Signal: l.signal(flags), Base: base.reg, Deref: base.deref}
	if base.offset {
		r.Offset = int64(spOffset)
	}
	switch flags >> 4 & 0xf {
	case 0: // RBP is what it was, or where the kind of frame says
	case l.prevSP:
		r.Save(symbols.SavedReg{Reg: symbols.RBP, Base: symbols.CFA, Offset: int32(bpOffset)})
	case l.bp:
		r.Save(symbols.SavedReg{Reg: symbols.RBP, Base: symbols.RBP, Offset: int32(bpOffset)})
	default:
		return symbols.FrameRule{}, false
	}
	return r, true
}

// usual reports whether flags are what most entries of this format look like: a call, the CFA
// relative to RSP or RBP.
func (l *orcLayout) usual(flags uint16) bool {
	base := &l.bases[flags&0xf]
	return l.kind(flags) == symbols.CallFrame && base.ok && base.offset && base.deref == symbols.DerefNone && !l.signal(flags)
}
