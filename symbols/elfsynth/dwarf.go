package elfsynth

import "encoding/binary"

// unit is the one compilation unit of the file: DWARF 4, 32-bit.
type unit struct {
	*types
	info    []byte
	strs    debugStrings
	entries []uint32 // by number of a type: where its entry is in info
	fixes   []uint32 // where in info the number of a type stands, which its entry's offset replaces
	unknown uint32   // string: the name of what cannot be told
}

const (
	dwarfVersion = 4
	addrSize     = 8
)

// newUnit starts a unit for a program whose code lies in the given range of addresses.
func newUnit(name string, t *types, low, high uint64) *unit {
	u := &unit{types: t, entries: make([]uint32, t.count()), strs: newDebugStrings(t)}
	u.info = make([]byte, 0, 3*len(t.kernel.types)/2)
	u.fixes = make([]uint32, 0, 4*t.count())
	u.unknown = u.strs.add("unknown")

	le := binary.LittleEndian
	u.info = le.AppendUint32(u.info, 0) // its length, at the end
	u.info = le.AppendUint16(u.info, dwarfVersion)
	u.info = le.AppendUint32(u.info, 0) // offset in .debug_abbrev
	u.info = append(u.info, addrSize)

	code := low < high
	if code {
		u.begin(abbrevUnitCode)
	} else {
		u.begin(abbrevUnit)
	}
	u.str(u.strs.add("physgdb, of the program's own BTF"))
	u.byte(languageC99)
	u.str(u.strs.add(name))
	if code {
		u.addr(low)
		u.addr(high - low)
	}
	return u
}

// finish closes the unit and puts offsets of entries where numbers of types are.
func (u *unit) finish() {
	u.begin(abbrevEnd)
	le := binary.LittleEndian
	le.PutUint32(u.info, uint32(len(u.info)-4))
	for _, at := range u.fixes {
		le.PutUint32(u.info[at:], u.entries[le.Uint32(u.info[at:])])
	}
}

func (u *unit) begin(a abbreviation) { u.info = append(u.info, byte(a)) }

// beginWith starts an entry that has so many children, behind which stands its end.
func (u *unit) beginWith(children int, a abbreviation) {
	if children == 0 {
		a = a.leaf()
	}
	u.begin(a)
}

func (u *unit) end(children int) {
	if children > 0 {
		u.begin(abbrevEnd)
	}
}

func (u *unit) byte(b byte)    { u.info = append(u.info, b) }
func (u *unit) addr(a uint64)  { u.info = binary.LittleEndian.AppendUint64(u.info, a) }
func (u *unit) str(off uint32) { u.info = binary.LittleEndian.AppendUint32(u.info, off) }
func (u *unit) uleb(v uint64)  { u.info = binary.AppendUvarint(u.info, v) }

// name refers to a string of BTF.
func (u *unit) name(off uint32) { u.str(u.strs.of(off)) }

// sleb appends a signed LEB128 (DWARF 4, section 7.6).
func (u *unit) sleb(v int64) {
	for v < -64 || v > 63 {
		u.info = append(u.info, byte(v)|0x80)
		v >>= 7
	}
	u.info = append(u.info, byte(v)&0x7f)
}

// ref refers to a type; not void.
func (u *unit) ref(id uint32) {
	u.fixes = append(u.fixes, uint32(len(u.info)))
	u.info = binary.LittleEndian.AppendUint32(u.info, id)
}

// flag writes a flag.
func (u *unit) flag(yes bool) {
	if yes {
		u.byte(1)
	} else {
		u.byte(0)
	}
}

// debugStrings is .debug_str. That of a kernel begins with the strings of BTF, so that their offsets count in both; that
// of a module has only those that it uses.
type debugStrings struct {
	types *types
	data  []byte
	moved map[uint32]uint32 // of a module: from offsets in BTF
}

func newDebugStrings(t *types) debugStrings {
	if t.module.strings != nil || len(t.kernel.strings) == 0 {
		return debugStrings{t, []byte{0}, map[uint32]uint32{0: 0}}
	}
	const more = 4096
	s := debugStrings{types: t, data: make([]byte, 0, len(t.kernel.strings)+more)}
	s.data = append(s.data, t.kernel.strings...)
	s.data[0] = 0
	s.data = append(s.data, 0)
	printable(s.data)
	return s
}

// printable replaces what a terminal would obey.
func printable(b []byte) {
	for i, c := range b {
		if (c < ' ' && c != 0) || c == 0x7f {
			b[i] = '?'
		}
	}
}

// of returns where a string of BTF is.
func (s *debugStrings) of(off uint32) uint32 {
	if s.moved == nil {
		if off >= uint32(len(s.types.kernel.strings)) {
			return 0
		}
		return off
	}
	to, ok := s.moved[off]
	if !ok {
		to = s.add(string(s.types.name(off)))
		s.moved[off] = to
	}
	return to
}

// add returns where a string is that is not in BTF.
func (s *debugStrings) add(text string) uint32 {
	at := len(s.data)
	s.data = append(s.data, text...)
	printable(s.data[at:])
	s.data = append(s.data, 0)
	return uint32(at)
}

// extent returns the lowest and the highest address of the code among sections.
func extent(sections []Section) (low, high uint64) {
	for _, s := range sections {
		if !s.Exec {
			continue
		}
		if low == high {
			low = s.Addr
		}
		high = s.Addr + s.Size
	}
	return low, high
}

// anonymous reports whether a string of BTF is empty.
func (u *unit) anonymous(name uint32) bool { return len(u.types.name(name)) == 0 }

// realName refers to a string of BTF that nothing can do without.
func (u *unit) realName(off uint32) {
	if u.anonymous(off) {
		u.str(u.unknown)
	} else {
		u.name(off)
	}
}
