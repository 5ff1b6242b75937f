package dwarf

import (
	"bytes"
	"debug/dwarf"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sync"
)

// The package debug/dwarf decodes the abbreviations of all units before it answers anything: more
// than half a second and 60 MB for a kernel. So each unit (DWARF 5, section 7.5.1) is opened as if
// it were alone in its file.

// unitHeader is where a unit lies in .debug_info, from its header to the next unit, and its
// abbreviations.
type unitHeader struct {
	off, end  uint64
	first     uint64 // offset of the unit's first entry
	abbrevOff uint64 // in .debug_abbrev
	abbrevPos uint64 // where the header has abbrevOff, from its start
	dwarf64   bool
}

var errBadUnit = errors.New("damaged unit header in .debug_info")

// unitHeaderAt reads the header at an offset of .debug_info.
func (s sections) unitHeaderAt(off uint64) (unitHeader, error) {
	info := s["info"]
	if off >= uint64(len(info)) {
		return unitHeader{}, errBadUnit
	}
	length, body, dwarf64, ok := unitLength(info[off:])
	if !ok || len(body) < 4 {
		return unitHeader{}, errBadUnit
	}
	offset := 4 // bytes of an offset
	if dwarf64 {
		offset = 8
	}
	abbrev, size := 2, 2+offset+1 // version, abbreviations, size of addresses
	if binary.LittleEndian.Uint16(body) >= 5 {
		abbrev, size = 4, 4+offset // version, type of unit, size of addresses, abbreviations
		switch body[2] {
		case unitSkeleton, unitSplitCompile:
			size += 8
		case unitType, unitSplitType:
			size += 8 + offset
		}
	}
	if len(body) < size {
		return unitHeader{}, errBadUnit
	}
	start := length - uint64(len(body))
	u := unitHeader{
		off: off, end: off + length, first: off + start + uint64(size), abbrevPos: start + uint64(abbrev), dwarf64: dwarf64,
	}
	u.abbrevOff = uint64(binary.LittleEndian.Uint32(body[abbrev:]))
	if dwarf64 {
		u.abbrevOff = binary.LittleEndian.Uint64(body[abbrev:])
	}
	if u.abbrevOff > uint64(len(s["abbrev"])) {
		return unitHeader{}, errBadUnit
	}
	return u, nil
}

// Types of units whose headers are longer: DWARF 5, table 7.2.
const (
	unitType         = 2
	unitSkeleton     = 4
	unitSplitCompile = 5
	unitSplitType    = 6
)

// unitLength reads the length that each unit of a DWARF section starts with (DWARF 5, section 7.4),
// and returns the length with itself, and the bytes after it up to the end of the unit.
func unitLength(b []byte) (length uint64, body []byte, dwarf64, ok bool) {
	if len(b) < 4 {
		return 0, nil, false, false
	}
	field := uint64(4)
	rest := uint64(binary.LittleEndian.Uint32(b))
	if rest == 0xffffffff && len(b) >= 12 {
		field, dwarf64 = 12, true
		rest = binary.LittleEndian.Uint64(b[4:])
	}
	if rest > uint64(len(b))-field {
		return 0, nil, false, false
	}
	return field + rest, b[field : field+rest], dwarf64, true
}

// unitHeaders visits all units in the order of the file. An error ends it.
func (s sections) unitHeaders() iter.Seq2[unitHeader, error] {
	return func(yield func(unitHeader, error) bool) {
		for off := uint64(0); off < uint64(len(s["info"])); {
			u, err := s.unitHeaderAt(off)
			if !yield(u, err) || err != nil {
				return
			}
			off = u.end
		}
	}
}

// alone decodes a unit. Offsets in what it returns count from the start of the unit.
func (s sections) alone(u unitHeader) (*dwarf.Data, error) {
	return s.data(s["abbrev"], s["info"][u.off:u.end])
}

// root decodes the first entry of a unit, if possible without its other abbreviations: that takes
// microseconds.
func (s sections) root(u unitHeader) (*dwarf.Data, *dwarf.Entry, error) {
	if d, err := s.openStart(u); err == nil {
		if root, err := firstEntry(d, u); err == nil {
			return d, root, nil
		}
	}
	d, err := s.alone(u)
	if err != nil {
		return nil, nil, err
	}
	root, err := firstEntry(d, u)
	return d, root, err
}

func firstEntry(d *dwarf.Data, u unitHeader) (*dwarf.Entry, error) {
	left := 1
	return (&entryReader{d.Reader(), &left}).at(dwarf.Offset(u.first - u.off))
}

// openStart decodes a copy of the start of a unit, with a header that says so, and the first of its
// abbreviations.
func (s sections) openStart(u unitHeader) (*dwarf.Data, error) {
	const enough = 4096 // bytes for a header and one entry
	if u.dwarf64 {
		return nil, errors.ErrUnsupported
	}
	table := s["abbrev"][u.abbrevOff:]
	_, n := scanAbbrev(table)
	abbrev := append(bytes.Clone(table[:n]), 0)
	info := bytes.Clone(s["info"][u.off:min(u.end, u.off+enough)])
	binary.LittleEndian.PutUint32(info, uint32(len(info)-4))
	binary.LittleEndian.PutUint32(info[u.abbrevPos:], 0)
	return s.data(abbrev, info)
}

// crossUnit reports whether entries of a unit may refer to other units, as link-time optimization
// makes them.
func (s sections) crossUnit(u unitHeader) bool {
	for a := range s.abbrevs(u) {
		if a.elsewhere {
			return true
		}
	}
	return false
}

// abbrev is what all entries with the same number have in common.
type abbrev struct {
	number    uint64
	tag       dwarf.Tag
	elsewhere bool // they refer to others by offsets in the whole of .debug_info
}

// abbrevs visits the abbreviations of a unit, up to the first that is damaged.
func (s sections) abbrevs(u unitHeader) iter.Seq[abbrev] {
	return func(yield func(abbrev) bool) {
		for table := s["abbrev"][u.abbrevOff:]; ; {
			a, n := scanAbbrev(table)
			if n == 0 || !yield(a) {
				return
			}
			table = table[n:]
		}
	}
}

// scanAbbrev reads one declaration of .debug_abbrev (DWARF 5, section 7.5.3), and returns its size
// in bytes: 0 at the end of a table, or where it is damaged.
func scanAbbrev(b []byte) (a abbrev, n int) {
	const (
		formRefAddr       = 0x10
		formImplicitConst = 0x21
	)
	next := func() uint64 {
		v, size := binary.Uvarint(b[n:]) // a LEB128
		if size <= 0 {
			n, b = 0, nil
			return 0
		}
		n += size
		return v
	}
	if a.number = next(); a.number == 0 {
		return a, 0
	}
	a.tag = dwarf.Tag(next())
	next() // whether there are children: one byte, 0 or 1
	for {
		attr, form := next(), next()
		switch {
		case attr == 0 && form == 0:
			return a, n
		case form == formRefAddr:
			a.elsewhere = true
		case form == formImplicitConst:
			next()
		}
	}
}

// unitData is a unit ready to be read. It may be alone in data, or among all others.
type unitData struct {
	data *dwarf.Data
	unitHeader
	base uint64 // what to subtract from offsets of .debug_info
}

// in is the offset in data of what is at an offset of .debug_info.
func (u *unitData) in(off uint64) dwarf.Offset { return dwarf.Offset(off - u.base) }

// unitDecoder opens units. It is not safe for concurrent use.
type unitDecoder struct {
	sections
	whole func() (*dwarf.Data, error) // all units at once
}

func newUnitDecoder(s sections) unitDecoder {
	return unitDecoder{s, sync.OnceValues(func() (*dwarf.Data, error) { return s.data(s["abbrev"], s["info"]) })}
}

// open decodes a unit: alone, unless that would leave references without what they refer to.
func (d *unitDecoder) open(h unitHeader) (u unitData, err error) {
	u.unitHeader = h
	if d.crossUnit(h) {
		u.data, err = d.whole()
		return u, err
	}
	u.base = h.off
	u.data, err = d.alone(h)
	return u, err
}

// reader reads entries of the unit: no more than it has bytes.
func (u *unitData) reader() *entryReader {
	left := int(u.end - u.off)
	return &entryReader{u.data.Reader(), &left}
}

// root returns the first entry of the unit, and a reader of what lies in it.
func (u *unitData) root() (*dwarf.Entry, *entryReader, error) {
	r := u.reader()
	e, err := r.at(u.in(u.first))
	return e, r, err
}

func (s sections) data(abbrev, info []byte) (*dwarf.Data, error) {
	d, err := dwarf.New(abbrev, nil, nil, info, s["line"], nil, s["ranges"], s["str"])
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"addr", "line_str", "rnglists", "str_offsets"} {
		if err := d.AddSection(".debug_"+name, s[name]); err != nil {
			return nil, fmt.Errorf(".debug_%s: %w", name, err)
		}
	}
	return d, nil
}
