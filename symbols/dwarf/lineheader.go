package dwarf

import (
	"bytes"
	"debug/dwarf"
	"encoding/binary"
	"errors"
)

var errBadLines = errors.New("damaged header in .debug_line")

// checkLineTable reads the header of a unit's line table (DWARF 5, section 6.2.4) for one reason:
// debug/dwarf reserves memory for as many directories and files as it claims, before it looks for
// them.
func (s sections) checkLineTable(root *dwarf.Entry) error {
	off, ok := root.Val(dwarf.AttrStmtList).(int64)
	if !ok {
		return nil
	}
	if off < 0 || off > int64(len(s["line"])) {
		return errBadLines
	}
	_, body, dwarf64, ok := unitLength(s["line"][off:])
	if !ok || len(body) < 2 {
		return errBadLines
	}
	if binary.LittleEndian.Uint16(body) < 5 {
		return nil // lists that end with an empty name
	}
	h := lineHeader{rest: body, offset: 4}
	if dwarf64 {
		h.offset = 8
	}
	h.skip(2 + 1 + 1)                // version, sizes of an address and of a segment selector
	h.skip(h.offset)                 // length of the header
	h.skip(1 + 1 + 1 + 1 + 1)        // how the program encodes rows
	h.skip(uint64(h.byte()) - 1)     // lengths of opcodes, from 1 on
	if err := h.list(); err != nil { // directories
		return err
	}
	return h.list() // files
}

// lineHeader reads what is left of a header. After damage nothing is.
type lineHeader struct {
	rest   []byte
	offset uint64 // bytes of an offset of another section
	bad    bool
}

// list skips a list whose entries have a format of their own.
func (h *lineHeader) list() error {
	forms := make([]uint64, h.byte())
	for i := range forms {
		h.number() // what the field is about
		forms[i] = h.number()
	}
	n := h.number()
	if n > uint64(len(h.rest)) || n > 0 && len(forms) == 0 {
		return errBadLines
	}
	for range n {
		for _, form := range forms {
			h.field(form)
		}
		if h.bad {
			return errBadLines
		}
	}
	if h.bad {
		return errBadLines
	}
	return nil
}

// field skips one value. Its forms are those that the format may have: DWARF 5, section 6.2.4.1,
// numbers in table 7.6.
func (h *lineHeader) field(form uint64) {
	switch form {
	case 0x08: // string
		end := bytes.IndexByte(h.rest, 0)
		h.bad = h.bad || end < 0
		h.skip(uint64(end + 1))
	case 0x0e, 0x1f: // strp, line_strp
		h.skip(h.offset)
	case 0x0b: // data1
		h.skip(1)
	case 0x05: // data2
		h.skip(2)
	case 0x06: // data4
		h.skip(4)
	case 0x07: // data8
		h.skip(8)
	case 0x1e: // data16
		h.skip(16)
	case 0x0f: // udata
		h.number()
	case 0x09: // block
		h.skip(h.number())
	default:
		h.bad = true
	}
}

func (h *lineHeader) skip(n uint64) {
	if n > uint64(len(h.rest)) {
		h.rest, h.bad = nil, true
		return
	}
	h.rest = h.rest[n:]
}

func (h *lineHeader) byte() byte {
	if len(h.rest) == 0 {
		h.bad = true
		return 0
	}
	b := h.rest[0]
	h.rest = h.rest[1:]
	return b
}

// number reads an unsigned LEB128.
func (h *lineHeader) number() uint64 {
	v, n := binary.Uvarint(h.rest)
	if n <= 0 {
		h.rest, h.bad = nil, true
		return 0
	}
	h.rest = h.rest[n:]
	return v
}
