package elfsynth

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
)

// gdbIndex makes .gdb_index, by which gdb finds names in .debug_info without reading all of it (gdb
// manual, appendix "Index Section Format", version 8). It keeps gdb from its index cache, too: that
// goes by build-id, and the program's own file, whose build-id this one has, has other debug
// information. gdb takes the one's index for the other's and aborts.
//
// It returns nil, for no index, where that would be larger than maxIndexNames. info and strs are
// .debug_info, as this package writes it, and .debug_str; low to high is the code of the first
// unit.
func gdbIndex(info, strs []byte, low, high uint64) []byte {
	units, names := indexed(info, strs)
	if names == nil {
		return nil
	}
	le := binary.LittleEndian
	const headerSize = 6 * 4
	body := []byte{}
	for _, u := range units {
		body = le.AppendUint64(body, uint64(u.start))
		body = le.AppendUint64(body, uint64(u.end-u.start))
	}
	addresses := headerSize + len(body)
	if low < high {
		body = le.AppendUint64(body, low)
		body = le.AppendUint64(body, high)
		body = le.AppendUint32(body, 0)
	}
	table := headerSize + len(body)
	slots, pool := hashed(names)
	body = append(body, slots...)

	out := le.AppendUint32(nil, 8)
	for _, at := range []int{headerSize, addresses, addresses, table, headerSize + len(body)} { // no units of types alone
		out = le.AppendUint32(out, uint32(at))
	}
	return append(append(out, body...), pool...)
}

// indexedUnit is where in .debug_info a unit is.
type indexedUnit struct{ start, end int }

// baseNames are what gdb makes of the names that compilers give to C's types.
var baseNames = map[string]string{
	"short int": "short", "short unsigned int": "unsigned short", "long int": "long", "long unsigned int": "unsigned long",
	"long long int": "long long", "long long unsigned int": "unsigned long long",
}

// The attributes of a symbol in the index, besides the number of its unit.
const (
	indexType     = 1 << 28
	indexVariable = 2 << 28 // or a constant
	indexFunction = 3 << 28
	indexStatic   = 1 << 31
)

// indexed lists the units, and the meanings of each name: one word for each. There are no names if
// they are too many.
func indexed(info, strs []byte) (units []indexedUnit, names map[string][]uint32) {
	names = map[string][]uint32{}
	size := 0 // bytes of all names
	for at := 0; at < len(info); {
		r := dieReader{info: info, at: at}
		end := at + 4 + int(r.uint32())
		number := uint32(len(units))
		units = append(units, indexedUnit{at, end})
		r.at = at + unitHeaderSize
		for depth := 0; r.at < end; {
			d := r.next()
			if what := d.indexedAs(depth); what != 0 {
				text, _, _ := bytes.Cut(strs[d.name:], []byte{0})
				name := string(text)
				if d.shape.tag == tagBase {
					name = cmp.Or(baseNames[name], name)
				}
				meanings, known := names[name]
				if !known {
					size += len(name)
				}
				if size > maxIndexNames {
					return units, nil
				}
				names[name] = append(meanings, what|number)
			}
			switch {
			case d.shape == nil:
				depth--
			case d.children:
				depth++
			}
		}
		at = end
	}
	return units, names
}

// die is an entry of .debug_info, as far as the index needs it.
type die struct {
	shape    *shape // nil at the end of children
	children bool
	name     uint32 // in .debug_str; 0 for none
	external bool
	declared bool // it is known by name alone
}

// indexedAs returns what the index says of an entry so deep in its unit, or 0 if it is not in the
// index. In C types and constants have the scope of their file.
func (d *die) indexedAs(depth int) uint32 {
	if d.shape == nil || d.name == 0 || d.declared {
		return 0
	}
	scope := uint32(indexStatic)
	if d.external {
		scope = 0
	}
	switch d.shape.tag {
	case tagBase, tagTypedef, tagStruct, tagUnion, tagEnum, tagUnspecified:
		if depth == 1 {
			return indexType | indexStatic
		}
	case tagEnumConst:
		return indexVariable | indexStatic
	case tagVar:
		return indexVariable | scope
	case tagFunc:
		return indexFunction | scope
	}
	return 0
}

// dieReader reads entries of .debug_info as this package writes them.
type dieReader struct {
	info []byte
	at   int
}

func (r *dieReader) byte() byte {
	r.at++
	return r.info[r.at-1]
}

func (r *dieReader) uint32() uint32 {
	r.at += 4
	return binary.LittleEndian.Uint32(r.info[r.at-4:])
}

func (r *dieReader) uleb() uint64 {
	v, n := binary.Uvarint(r.info[r.at:])
	r.at += n
	return v
}

// next reads an entry.
func (r *dieReader) next() (d die) {
	code := abbreviation(r.byte())
	if code == abbrevEnd {
		return d
	}
	leaf := code >= abbreviations
	if leaf {
		code -= abbreviations
	}
	d.shape = &shapes[code]
	d.children = d.shape.children && !leaf
	for i := 0; i < len(d.shape.attrs); i += 2 {
		value := r.value(d.shape.attrs[i+1])
		switch d.shape.attrs[i] {
		case attrName:
			d.name = uint32(value)
		case attrExternal:
			d.external = value != 0
		case attrDeclared:
			d.declared = true
		}
	}
	return d
}

// value reads a value of a form. Of an address, of what is signed and of an expression only the
// size counts.
func (r *dieReader) value(form byte) uint64 {
	switch form {
	case formAddr, formData8:
		r.at += 8
	case formData1, formFlag:
		return uint64(r.byte())
	case formStrp, formRef4, formRefAddr:
		return uint64(r.uint32())
	case formUdata, formSdata:
		return r.uleb()
	case formExpr:
		r.at += int(r.uleb())
	}
	return 0
}

// hashed makes the hash table of the names, and the pool that it refers to: first lists of
// meanings, then names.
func hashed(names map[string][]uint32) (slots, pool []byte) {
	le := binary.LittleEndian
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	lists := map[string]uint32{} // where each is in the pool
	where := make([]uint32, len(sorted))
	for i, name := range sorted {
		meanings := names[name]
		slices.Sort(meanings)
		meanings = slices.Compact(meanings)
		list := le.AppendUint32(nil, uint32(len(meanings)))
		for _, m := range meanings {
			list = le.AppendUint32(list, m)
		}
		at, known := lists[string(list)]
		if !known {
			at = uint32(len(pool))
			lists[string(list)] = at
			pool = append(pool, list...)
		}
		where[i] = at
	}
	size := uint32(1) << bits.Len(uint(len(sorted)+len(sorted)/3)) // at most three quarters full
	slots = make([]byte, 8*size)
	for i, name := range sorted {
		hash := indexHash(name)
		slot, step := hash&(size-1), (hash*17)&(size-1)|1
		for le.Uint64(slots[8*slot:]) != 0 {
			slot = (slot + step) & (size - 1)
		}
		le.PutUint32(slots[8*slot:], uint32(len(pool)))
		le.PutUint32(slots[8*slot+4:], where[i])
		pool = append(append(pool, name...), 0)
	}
	return slots, pool
}

// indexHash is the hash of a name, since version 5 of the format.
func indexHash(name string) (h uint32) {
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		h = h*67 + uint32(c) - 113
	}
	return h
}
