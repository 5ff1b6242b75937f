package elfsynth

import (
	"context"
	"encoding/binary"

	"physgdb/symbols/btf"
)

// debugInfo is .debug_info in the making: one unit with types and functions, and one with
// variables. They are apart because debuggers take all variables of the unit that a function is in
// for its locals, if they know nothing else of it.
type debugInfo struct {
	*btf.Types
	info    []byte
	strs    debugStrings
	entries []uint32   // by number of a type: where its entry is in info
	fixes   []uint32   // offsets in info of numbers of types, to be replaced by the offsets of their entries
	vars    []variable // for the second unit
	name    uint32     // string: of the program
	maker   uint32     // string: of us
	unknown uint32     // string: the name of unknown types

	ctx context.Context
}

const (
	dwarfVersion   = 4
	addrSize       = 8
	unitHeaderSize = 4 + 2 + 4 + 1
)

// full reports whether there is no room for more, or no time: what was written is not of use then.
func (u *debugInfo) full() bool {
	return len(u.info)+len(u.strs.data) > maxDebugInfo || u.ctx.Err() != nil
}

func newDebugInfo(ctx context.Context, name string, t *btf.Types) *debugInfo {
	u := &debugInfo{ctx: ctx, Types: t, entries: make([]uint32, t.Count()), strs: newDebugStrings(t)}
	u.info = make([]byte, 0, 3*len(t.Strings()))
	u.fixes = make([]uint32, 0, 4*t.Count())
	u.unknown = u.strs.add("unknown")
	u.maker = u.strs.add("physgdb, out of BTF")
	u.name = u.strs.add(name)
	return u
}

// beginTypes starts the unit with types and functions, whose code lies in the given range of
// addresses. It comes first: its entries' offsets in the unit are those in the section.
func (u *debugInfo) beginTypes(low, high uint64) {
	if low >= high {
		u.beginUnit(abbrevUnit)
		return
	}
	u.beginUnit(abbrevUnitCode)
	u.addr(low)
	u.addr(high - low)
}

// endTypes closes the first unit and puts places of entries where numbers of types are.
func (u *debugInfo) endTypes() {
	u.endUnit(0)
	le := binary.LittleEndian
	for _, at := range u.fixes {
		le.PutUint32(u.info[at:], u.entries[le.Uint32(u.info[at:])])
	}
}

// beginUnit writes the header of a unit (DWARF 4, section 7.5.1.1) and the start of its first
// entry.
func (u *debugInfo) beginUnit(a abbreviation) (start int) {
	start = len(u.info)
	le := binary.LittleEndian
	u.info = le.AppendUint32(u.info, 0) // its length, at the end
	u.info = le.AppendUint16(u.info, dwarfVersion)
	u.info = le.AppendUint32(u.info, 0) // offset in .debug_abbrev
	u.byte(addrSize)
	u.begin(a)
	u.offset(u.maker)
	u.byte(languageC99)
	u.offset(u.name)
	return start
}

func (u *debugInfo) endUnit(start int) {
	u.begin(abbrevEnd)
	binary.LittleEndian.PutUint32(u.info[start:], uint32(len(u.info)-start-4))
}

func (u *debugInfo) begin(a abbreviation) { u.info = append(u.info, byte(a)) }

// beginWith starts an entry with the given number of children, followed by its end.
func (u *debugInfo) beginWith(children int, a abbreviation) {
	if children == 0 {
		a = a.leaf()
	}
	u.begin(a)
}

func (u *debugInfo) end(children int) {
	if children > 0 {
		u.begin(abbrevEnd)
	}
}

func (u *debugInfo) byte(b byte)   { u.info = append(u.info, b) }
func (u *debugInfo) addr(a uint64) { u.info = binary.LittleEndian.AppendUint64(u.info, a) }
func (u *debugInfo) uleb(v uint64) { u.info = binary.AppendUvarint(u.info, v) }

// offset refers to a string, or to an entry, by its place in its section.
func (u *debugInfo) offset(off uint32) { u.info = binary.LittleEndian.AppendUint32(u.info, off) }

// text refers to a string of BTF.
func (u *debugInfo) text(off uint32) { u.offset(u.strs.of(off)) }

func (u *debugInfo) sleb(v int64) { u.info = appendSLEB(u.info, v) }

// ref refers to a type; not void.
func (u *debugInfo) ref(id uint32) {
	u.fixes = append(u.fixes, uint32(len(u.info)))
	u.info = binary.LittleEndian.AppendUint32(u.info, id)
}

// flag writes a flag.
func (u *debugInfo) flag(yes bool) {
	if yes {
		u.byte(1)
	} else {
		u.byte(0)
	}
}

// debugStrings is .debug_str. That of a kernel begins with the strings of BTF, so that their
// offsets count in both; that of a module has only those that it uses.
type debugStrings struct {
	types *btf.Types
	data  []byte
	moved map[uint32]uint32 // of a module: from offsets in BTF
}

func newDebugStrings(t *btf.Types) debugStrings {
	if t.Split() || len(t.Strings()) == 0 {
		return debugStrings{t, []byte{0}, map[uint32]uint32{0: 0}}
	}
	const more = 4096
	s := debugStrings{types: t, data: make([]byte, 0, len(t.Strings())+more)}
	s.data = append(s.data, t.Strings()...)
	s.data[0] = 0
	s.data = append(s.data, 0)
	printable(s.data)
	return s
}

// printable replaces, in place, what is not printable ASCII: names in C are, and debuggers print
// them as they are.
func printable(b []byte) {
	for i, c := range b {
		if (c < ' ' && c != 0) || c >= 0x7f {
			b[i] = '?'
		}
	}
}

// of returns where a string of BTF is.
func (s *debugStrings) of(off uint32) uint32 {
	if s.moved == nil {
		if len(s.types.Name(off)) == 0 {
			return 0
		}
		return off
	}
	to, ok := s.moved[off]
	if !ok {
		to = s.add(string(s.types.Name(off)))
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
func (u *debugInfo) anonymous(name uint32) bool { return len(u.Name(name)) == 0 }

// someName refers to a string of BTF that nothing can do without.
func (u *debugInfo) someName(off uint32) {
	if u.anonymous(off) {
		u.offset(u.unknown)
	} else {
		u.text(off)
	}
}
