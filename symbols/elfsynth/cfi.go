package elfsynth

import (
	"bytes"
	"encoding/binary"

	"github.com/go-delve/delve/pkg/dwarf/frame"
	"github.com/go-delve/delve/pkg/dwarf/leb128"
	"github.com/go-delve/delve/pkg/dwarf/op"

	"physgdb/symbols"
)

// dataAlignment is the factor of all offsets from the CFA: stacks grow downward, in words.
const dataAlignment = -8

// cfiWriter appends call frame instructions.
type cfiWriter struct{ out []byte }

func (w *cfiWriter) bytes(b ...byte) { w.out = append(w.out, b...) }

func (w *cfiWriter) uleb(v uint64) { w.out = binary.AppendUvarint(w.out, v) } // the same encoding

func (w *cfiWriter) sleb(v int64) { w.out = appendSLEB(w.out, v) }

// expr returns a DWARF expression of operations, and of operands of one byte.
func expr(ops ...op.Opcode) []byte {
	p := make([]byte, len(ops))
	for i, o := range ops {
		p[i] = byte(o)
	}
	return p
}

// appendSLEB appends a signed LEB128 (DWARF 4, section 7.6).
func appendSLEB(p []byte, v int64) []byte {
	b := bytes.NewBuffer(p)
	leb128.EncodeSigned(b, v)
	return b.Bytes()
}

// advance goes on to the rules that count so many bytes later.
func (w *cfiWriter) advance(n uint64) {
	for ; n > 0xffff_ffff; n -= 0xffff_ffff {
		w.bytes(frame.DW_CFA_advance_loc4, 0xff, 0xff, 0xff, 0xff)
	}
	switch {
	case n < 1<<6:
		w.bytes(frame.DW_CFA_advance_loc | byte(n))
	case n < 1<<8:
		w.bytes(frame.DW_CFA_advance_loc1, byte(n))
	case n < 1<<16:
		w.bytes(frame.DW_CFA_advance_loc2, byte(n), byte(n>>8))
	default:
		w.out = binary.LittleEndian.AppendUint32(append(w.out, frame.DW_CFA_advance_loc4), uint32(n))
	}
}

// offset: the register is saved at CFA+offset, which is a multiple of 8.
func (w *cfiWriter) offset(reg symbols.Reg, offset int64) {
	if factored := offset / dataAlignment; factored >= 0 {
		w.bytes(frame.DW_CFA_offset | byte(reg))
		w.uleb(uint64(factored))
	} else {
		w.bytes(frame.DW_CFA_offset_extended_sf, byte(reg))
		w.sleb(factored)
	}
}

// defCFA writes no more than what differs from before. A negative offset is a multiple of 8.
func (w *cfiWriter) defCFA(before, now cfa) {
	sameReg := before.base == now.base
	switch {
	case before == now:
	case now.deref:
		w.bytes(frame.DW_CFA_def_cfa_expression)
		w.block(breg(now.base, now.offset).deref())
	case before.deref || !sameReg && before.offset != now.offset:
		w.defWholeCFA(now)
	case !sameReg:
		w.bytes(frame.DW_CFA_def_cfa_register, byte(now.base))
	case now.offset >= 0:
		w.bytes(frame.DW_CFA_def_cfa_offset)
		w.uleb(uint64(now.offset))
	default:
		w.bytes(frame.DW_CFA_def_cfa_offset_sf)
		w.sleb(now.offset / dataAlignment)
	}
}

func (w *cfiWriter) defWholeCFA(c cfa) {
	if c.offset >= 0 {
		w.bytes(frame.DW_CFA_def_cfa, byte(c.base))
		w.uleb(uint64(c.offset))
		return
	}
	w.bytes(frame.DW_CFA_def_cfa_sf, byte(c.base))
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
	e := &cfiWriter{expr(op.DW_OP_breg0 + op.Opcode(reg))}
	e.sleb(offset)
	return e
}

// deref continues an expression: the word it points to.
func (w *cfiWriter) deref() *cfiWriter {
	w.bytes(byte(op.DW_OP_deref))
	return w
}

// plus continues an expression.
func (w *cfiWriter) plus(n int64) *cfiWriter {
	w.bytes(byte(op.DW_OP_consts))
	w.sleb(n)
	w.bytes(byte(op.DW_OP_plus))
	return w
}
