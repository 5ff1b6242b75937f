package symbols

import "encoding/binary"

// orcLayout says what the 16 bits of flags in a struct orc_entry mean. In all formats bits 0-3 are the base of the CFA
// and bits 4-7 that of the saved RBP.
type orcLayout struct {
	kind   func(flags uint16) FrameKind
	signal func(flags uint16) bool
	bases  [16]orcBase // of the CFA, by number
	prevSP uint16      // number of the CFA itself, as a base of the saved RBP
	bp     uint16      // number of RBP
}

// orcBase is a register that a CFA can be relative to.
type orcBase struct {
	reg    Reg
	deref  Deref
	offset bool // sp_offset counts; the kernel ignores it for registers that hold the CFA itself
	ok     bool
}

var orcLayouts = [...]orcLayout{
	ORC4_14: {orcKind2(orcEnd4_14), orcInterrupted, orcBases, 1, 4},
	ORC6_3:  {orcKind2(orcEnd6_3), orcSignalBit(1 << 10), orcBases, 1, 4},
	ORC6_4:  {orcKind3, orcSignalBit(1 << 11), orcBases, 1, 4},
	ORC7_1:  {orcKind3, orcSignalBit(1 << 11), orcBases7_1, 8, 4},
}

// The bits that mark the end of a stack where that is not a type.
const (
	orcEnd4_14 = 1 << 10
	orcEnd6_3  = 1 << 11 // a bit that 4.14 does not use
)

var orcBases = [16]orcBase{
	2: {RDX, DerefNone, false, true},
	3: {RDI, DerefNone, false, true},
	4: {RBP, DerefNone, true, true},
	5: {RSP, DerefNone, true, true},
	6: {R10, DerefNone, false, true},
	7: {R13, DerefNone, false, true},
	8: {RBP, DerefAfterOffset, true, true},
	// Before 5.12 the offset came first, but no compiler and no hint made such an entry.
	9: {RSP, DerefBeforeOffset, true, true},
}

var orcBases7_1 = [16]orcBase{
	1:  {RAX, DerefNone, false, true},
	2:  {RDX, DerefNone, false, true},
	3:  {RSP, DerefNone, true, true},
	4:  {RBP, DerefNone, true, true},
	5:  {RDI, DerefNone, false, true},
	6:  {R10, DerefNone, false, true},
	7:  {R13, DerefNone, false, true},
	9:  {RSP, DerefBeforeOffset, true, true},
	10: {RBP, DerefAfterOffset, true, true},
}

const orcUnknown FrameKind = 0xff

// orcKind2 reads types of two bits: an entry without a base for the CFA ends the stack if the bit end says so, and else
// means that nothing is known.
func orcKind2(end uint16) func(uint16) FrameKind {
	kinds := [4]FrameKind{CallFrame, RegsFrame, PartialRegsFrame, orcUnknown}
	return func(flags uint16) FrameKind {
		switch {
		case flags&0xf != 0:
			return kinds[flags>>8&3]
		case flags&end != 0:
			return LastFrame
		}
		return NoFrame
	}
}

// orcKind3 reads types of three bits.
func orcKind3(flags uint16) FrameKind {
	kinds := [8]FrameKind{NoFrame, LastFrame, CallFrame, RegsFrame, PartialRegsFrame, orcUnknown, orcUnknown, orcUnknown}
	return kinds[flags>>8&7]
}

func orcSignalBit(bit uint16) func(uint16) bool {
	return func(flags uint16) bool { return flags&bit != 0 }
}

// orcInterrupted stands in for the signal bit before 6.3: behind saved registers is something that was interrupted.
func orcInterrupted(flags uint16) bool { return flags>>8&3 != 0 }

// rule decodes one entry.
func (l *orcLayout) rule(entry []byte) (FrameRule, bool) {
	spOffset := int16(binary.LittleEndian.Uint16(entry))
	bpOffset := int16(binary.LittleEndian.Uint16(entry[2:]))
	flags := binary.LittleEndian.Uint16(entry[4:])

	kind := l.kind(flags)
	switch kind {
	case NoFrame, LastFrame:
		return FrameRule{Kind: kind}, true
	case orcUnknown:
		return FrameRule{}, false
	}
	base := &l.bases[flags&0xf]
	if !base.ok {
		return FrameRule{}, false
	}
	r := FrameRule{Kind: kind, Signal: l.signal(flags), Base: base.reg, Deref: base.deref}
	if base.offset {
		r.Offset = int64(spOffset)
	}
	switch flags >> 4 & 0xf {
	case 0: // RBP is what it was, or where the kind of frame says
	case l.prevSP:
		r.save(SavedReg{RBP, CFA, int32(bpOffset)})
	case l.bp:
		r.save(SavedReg{RBP, RBP, int32(bpOffset)})
	default:
		return FrameRule{}, false
	}
	return r, true
}

// usual reports whether flags are what most entries of this format look like: a call, the CFA relative to RSP or RBP.
func (l *orcLayout) usual(flags uint16) bool {
	base := &l.bases[flags&0xf]
	return l.kind(flags) == CallFrame && base.ok && base.offset && base.deref == DerefNone && !l.signal(flags)
}
