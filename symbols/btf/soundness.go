package btf

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
)

// No debugger expects a type that contains itself, and none survives it. Neither does C have such
// types, but damaged memory may: whatever would close a loop, or is nested deeper than any kernel
// has it, is cut.

// maxDepth is how far types may be nested.
const maxDepth = 200

// maxTypeSize is the maximum size of a type in bytes; larger ones are damaged.
const maxTypeSize = 1 << 40

// walk visits types after those that they are made of.
type walk struct {
	*Types
	heights []uint8 // by number: the depth of the types that it refers to, plus 1; 0 if not visited yet
	twins   map[uint32]*twins
	cuts    int
}

// twins are structs or unions of the same name and size, which lldb takes for one.
type twins struct {
	all []uint32
}

// busy is the height of a type that is being visited.
const busy = 0xff

// makeSound cuts what is wrong with the types. The error says how much that was.
func (t *Types) makeSound() error {
	t.dropped = map[uint64]bool{}
	names := walk{Types: t, heights: make([]uint8, t.Count())}
	for id := range t.Count() {
		names.spell(id, 0)
	}
	t.sizes = make([]uint64, t.Count())
	values := walk{Types: t, heights: make([]uint8, t.Count()), twins: t.findTwins()}
	for id := range t.Count() {
		values.measure(id, 0)
	}
	if cuts := names.cuts + values.cuts; cuts > 0 {
		return fmt.Errorf("%d members or references are invalid and are left out", cuts)
	}
	return nil
}

// findTwins returns the twins of each type that has some.
func (t *Types) findTwins() map[uint32]*twins {
	type key struct {
		kind Kind
		size uint32
		name uint64 // hash
	}
	seed := maphash.MakeSeed()
	first := map[key]uint32{}
	found := map[uint32]*twins{}
	for id := uint32(1); id < t.Count(); id++ {
		if !t.Composite(id) {
			continue
		}
		r := t.Record(id)
		name := t.Name(r.Name)
		if len(name) == 0 {
			continue
		}
		k := key{r.Kind, r.Value, maphash.Bytes(seed, name)}
		other, seen := first[k]
		if !seen {
			first[k] = id
			continue
		}
		if found[other] == nil {
			found[other] = &twins{[]uint32{other}}
		}
		found[id] = found[other]
		found[id].all = append(found[id].all, id)
	}
	return found
}

// node returns the type that represents a type and its duplicates.
func (w *walk) node(id uint32) uint32 {
	if len(w.twins) > 0 && w.twins[id] != nil {
		return w.twins[id].all[0]
	}
	return id
}

// enter reports whether a type is to be visited; if not, height says whether the way to it must be
// cut.
func (w *walk) enter(id uint32, depth int) bool {
	if w.heights[id] != 0 || depth > maxDepth {
		return false
	}
	w.heights[id] = busy
	return true
}

// standsOn reports whether a type can be made of another, which was visited, and raises height to
// above it.
func (w *walk) standsOn(id uint32, height *uint8) bool {
	h := w.heights[w.node(id)]
	if h == 0 || h > maxDepth {
		w.cuts++
		return false
	}
	*height = max(*height, h)
	return true
}

// spell visits what the words for a type are made of: "pointer to function of pointer to" must come
// to an end, which it does at a struct or union, as these have names.
func (w *walk) spell(id uint32, depth int) {
	if !w.enter(id, depth) {
		return
	}
	var height uint8
	if ref := w.refs[id]; ref != 0 && !w.Composite(ref) {
		w.spell(ref, depth+1)
		if !w.standsOn(ref, &height) {
			w.refs[id] = 0
		}
	}
	if w.kinds[id] == KindFuncProto {
		w.spellParams(id, depth, &height)
	}
	w.heights[id] = height + 1
}

func (w *walk) spellParams(id uint32, depth int, height *uint8) {
	r := w.Record(id)
	for i := range r.Parts {
		typ := w.PartType(id, r, i)
		if typ == 0 || w.Composite(typ) {
			continue
		}
		w.spell(typ, depth+1)
		if !w.standsOn(typ, height) {
			w.drop(id, i)
		}
	}
}

// measure visits what a type holds, and finds its size: no struct can be a part of itself.
func (w *walk) measure(id uint32, depth int) {
	id = w.node(id)
	if !w.enter(id, depth) {
		return
	}
	var height uint8
	switch w.kinds[id] {
	case KindInt, KindEnum, KindEnum64, KindFloat:
		w.sizes[id] = uint64(w.Record(id).Value)
	case KindPtr:
		w.sizes[id] = 8
	case KindTypedef, KindVolatile, KindConst, KindRestrict, KindTypeTag:
		w.sizes[id] = w.measureRef(id, depth, &height)
	case KindArray:
		r := w.Record(id)
		w.sizes[id] = w.measureRef(id, depth, &height) * w.Elements(id, r)
	case KindStruct, KindUnion:
		w.measureComposite(id, depth, &height)
	}
	w.heights[id] = height + 1
}

func (w *walk) measureRef(id uint32, depth int, height *uint8) uint64 {
	ref := w.refs[id]
	if ref == 0 {
		return 0
	}
	w.measure(ref, depth+1)
	if !w.standsOn(ref, height) {
		w.refs[id] = 0
		return 0
	}
	return w.sizes[ref]
}

func (w *walk) measureComposite(id uint32, depth int, height *uint8) {
	all := []uint32{id}
	if t := w.twins[id]; t != nil {
		all = t.all
	}
	for _, id := range all {
		w.sizes[id] = uint64(w.Record(id).Value)
	}
	for _, id := range all {
		w.measureMembers(id, depth, height)
	}
}

func (w *walk) measureMembers(id uint32, depth int, height *uint8) {
	r := w.Record(id)
	for i := range r.Parts {
		if typ := w.PartType(id, r, i); typ != 0 {
			w.measure(typ, depth+1)
			if !w.standsOn(typ, height) {
				w.drop(id, i)
				continue
			}
		}
		if m := w.Member(id, r, i); !w.fits(m, r) {
			w.cuts++
			w.drop(id, i)
		}
	}
}

// fits reports whether a member lies in its struct, a bit field in its integer, and anything else
// at a whole byte.
func (w *walk) fits(m Member, in Record) bool {
	bits := w.sizes[m.Type] * 8
	if m.Width != 0 {
		if k := w.kinds[w.Plain(m.Type)]; k != KindInt && k != KindEnum && k != KindEnum64 {
			return false
		}
		if uint64(m.Width) > bits {
			return false
		}
		bits = uint64(m.Width)
	} else if m.Bit%8 != 0 {
		return false
	}
	return m.Type != 0 && m.Bit+bits <= uint64(in.Value)*8
}

// Composite reports whether a type is a struct or union.
func (t *Types) Composite(id uint32) bool {
	return t.kinds[id] == KindStruct || t.kinds[id] == KindUnion
}

// PartType returns the type of member or parameter number i, or void if it was dropped.
func (t *Types) PartType(id uint32, r Record, i int) uint32 {
	if len(t.dropped) > 0 && t.dropped[partKey(id, i)] {
		return 0
	}
	return t.valid(binary.LittleEndian.Uint32(r.rest[i*bytesPerPart[r.Kind]+4:]))
}

func (t *Types) drop(id uint32, i int) { t.dropped[partKey(id, i)] = true }

// partKey names a part of a type, of which there are less than 65536.
func partKey(id uint32, i int) uint64 { return uint64(id)<<16 | uint64(i) }

// Elements returns how many an array has; 0 also if it has no length, or one that cannot be.
func (t *Types) Elements(id uint32, r Record) uint64 {
	n := uint64(binary.LittleEndian.Uint32(r.rest[8:]))
	if size := t.sizes[t.refs[id]]; size != 0 && n > maxTypeSize/size {
		return 0
	}
	return n
}
