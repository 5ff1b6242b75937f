package elfsynth

import (
	"encoding/binary"

	"physgdb/symbols"
)

// Call frame instructions: DWARF 5, section 7.24. All were there in DWARF 3.
const (
	cfaAdvanceLoc       = 0x40 // the lower 6 bits are the distance
	cfaOffset           = 0x80 // the lower 6 bits are the register
	cfaAdvanceLoc1      = 0x02
	cfaAdvanceLoc2      = 0x03
	cfaAdvanceLoc4      = 0x04
	cfaUndefined        = 0x07
	cfaSameValue        = 0x08
	cfaDefCFA           = 0x0c
	cfaDefCFARegister   = 0x0d
	cfaDefCFAOffset     = 0x0e
	cfaDefCFAExpression = 0x0f
	cfaExpression       = 0x10
	cfaOffsetExtendedSF = 0x11
	cfaDefCFASF         = 0x12
	cfaDefCFAOffsetSF   = 0x13
	cfaValOffset        = 0x14
	cfaValExpression    = 0x16
)

// Operations of expressions: DWARF 5, section 7.7.1.
const (
	opDeref     = 0x06
	opConst1u   = 0x08
	opConst4u   = 0x0c
	opConsts    = 0x11
	opDup       = 0x12
	opDrop      = 0x13
	opOver      = 0x14
	opPick      = 0x15
	opAnd       = 0x1a
	opMinus     = 0x1c
	opOr        = 0x21
	opPlus      = 0x22
	opShl       = 0x24
	opShr       = 0x25
	opShra      = 0x26
	opXor       = 0x27
	opBra       = 0x28
	opEq        = 0x29
	opSkip      = 0x2f
	opLit0      = 0x30 // plus the number, up to 31
	opBreg0     = 0x70 // plus the register
	opDerefSize = 0x94
	opNop       = 0x96
)

// dataAlignment is the factor of all offsets from the CFA: stacks grow downward, in words.
const dataAlignment = -8

// cfiWriter appends call frame instructions.
type cfiWriter struct{ out []byte }

func (w *cfiWriter) bytes(b ...byte) { w.out = append(w.out, b...) }

func (w *cfiWriter) uleb(v uint64) { w.out = binary.AppendUvarint(w.out, v) } // the same encoding

func (w *cfiWriter) sleb(v int64) {
	for ; v < -64 || v > 63; v >>= 7 {
		w.out = append(w.out, byte(v)|0x80)
	}
	w.out = append(w.out, byte(v)&0x7f)
}

// advance goes on to the rules that count so many bytes later.
func (w *cfiWriter) advance(n uint64) {
	for ; n > 0xffff_ffff; n -= 0xffff_ffff {
		w.bytes(cfaAdvanceLoc4, 0xff, 0xff, 0xff, 0xff)
	}
	switch {
	case n < 1<<6:
		w.bytes(cfaAdvanceLoc | byte(n))
	case n < 1<<8:
		w.bytes(cfaAdvanceLoc1, byte(n))
	case n < 1<<16:
		w.bytes(cfaAdvanceLoc2, byte(n), byte(n>>8))
	default:
		w.out = binary.LittleEndian.AppendUint32(append(w.out, cfaAdvanceLoc4), uint32(n))
	}
}

// offset: the register is saved at CFA+offset, which is a multiple of 8.
func (w *cfiWriter) offset(reg symbols.Reg, offset int64) {
	if factored := offset / dataAlignment; factored >= 0 {
		w.bytes(cfaOffset | byte(reg))
		w.uleb(uint64(factored))
	} else {
		w.bytes(cfaOffsetExtendedSF, byte(reg))
		w.sleb(factored)
	}
}

// defCFA writes no more than what differs from before. A negative offset is a multiple of 8.
func (w *cfiWriter) defCFA(before, now cfa) {
	sameReg := before.base == now.base
	switch {
	case before == now:
	case now.deref:
		w.bytes(cfaDefCFAExpression)
		w.block(breg(now.base, now.offset).deref())
	case before.deref || !sameReg && before.offset != now.offset:
		w.defWholeCFA(now)
	case !sameReg:
		w.bytes(cfaDefCFARegister, byte(now.base))
	case now.offset >= 0:
		w.bytes(cfaDefCFAOffset)
		w.uleb(uint64(now.offset))
	default:
		w.bytes(cfaDefCFAOffsetSF)
		w.sleb(now.offset / dataAlignment)
	}
}

func (w *cfiWriter) defWholeCFA(c cfa) {
	if c.offset >= 0 {
		w.bytes(cfaDefCFA, byte(c.base))
		w.uleb(uint64(c.offset))
		return
	}
	w.bytes(cfaDefCFASF, byte(c.base))
	w.sleb(c.offset / dataAlignment)
}

// block writes an expression, as the operand of an instruction.
func (w *cfiWriter) block(e *cfiWriter) {
	w.uleb(uint64(len(e.out)))
	w.bytes(e.out...)
}

// wideSLEB is the size of a signed LEB128 number that is not known yet: 35 bits.
const wideSLEB = 5

func putSLEB(at []byte, v int64) {
	for i := range wideSLEB {
		at[i] = byte(v>>(7*i)) | 0x80
	}
	at[wideSLEB-1] &= 0x7f
}

// breg starts an expression: reg+offset.
func breg(reg symbols.Reg, offset int64) *cfiWriter {
	e := &cfiWriter{[]byte{opBreg0 + byte(reg)}}
	e.sleb(offset)
	return e
}

// deref continues an expression: the word it points to.
func (w *cfiWriter) deref() *cfiWriter {
	w.bytes(opDeref)
	return w
}

// plus continues an expression.
func (w *cfiWriter) plus(n int64) *cfiWriter {
	w.bytes(opConsts)
	w.sleb(n)
	w.bytes(opPlus)
	return w
}
