package elfsynth

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
)

// No debugger expects a type that contains itself, and none survives it. Neither does C have such types, but damaged
// memory may: whatever would close a loop, or is nested deeper than any kernel has it, is cut.

// deepest is how far types may be nested.
const deepest = 200

// hugest is the size in bytes from which on a type is not believed.
const hugest = 1 << 40

// walk visits types after those that they are made of.
type walk struct {
	*types
	heights []uint8 // by number: of the tower of types that it stands on, plus 1; 0 if not visited yet
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
func (t *types) makeSound() error {
	t.dropped = map[uint64]bool{}
	names := walk{types: t, heights: make([]uint8, t.count())}
	for id := range t.count() {
		names.spell(id, 0)
	}
	t.sizes = make([]uint64, t.count())
	values := walk{types: t, heights: make([]uint8, t.count()), twins: t.findTwins()}
	for id := range t.count() {
		values.measure(id, 0)
	}
	if cuts := names.cuts + values.cuts; cuts > 0 {
		return fmt.Errorf("%d members or references cannot be as they are and are left out", cuts)
	}
	return nil
}

// findTwins returns the twins of each type that has some.
func (t *types) findTwins() map[uint32]*twins {
	type key struct {
		kind kind
		size uint32
		name uint64 // hash
	}
	seed := maphash.MakeSeed()
	first := map[key]uint32{}
	found := map[uint32]*twins{}
	for id := uint32(1); id < t.count(); id++ {
		if !t.composite(id) {
			continue
		}
		r := t.record(id)
		name := t.name(r.name)
		if len(name) == 0 {
			continue
		}
		k := key{r.kind, r.value, maphash.Bytes(seed, name)}
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

// node returns the type that stands for a type and its twins.
func (w *walk) node(id uint32) uint32 {
	if len(w.twins) > 0 && w.twins[id] != nil {
		return w.twins[id].all[0]
	}
	return id
}

// enter reports whether a type is to be visited; if not, height says whether the way to it must be cut.
func (w *walk) enter(id uint32, depth int) bool {
	if w.heights[id] != 0 || depth > deepest {
		return false
	}
	w.heights[id] = busy
	return true
}

// standsOn reports whether a type can be made of another, which was visited, and raises height to above it.
func (w *walk) standsOn(id uint32, height *uint8) bool {
	h := w.heights[w.node(id)]
	if h == 0 || h > deepest {
		w.cuts++
		return false
	}
	*height = max(*height, h)
	return true
}

// spell visits what the words for a type are made of: "pointer to function of pointer to" must come to an end, which it
// does at a struct or union, as these have names.
func (w *walk) spell(id uint32, depth int) {
	if !w.enter(id, depth) {
		return
	}
	var height uint8
	if ref := w.refs[id]; ref != 0 && !w.composite(ref) {
		w.spell(ref, depth+1)
		if !w.standsOn(ref, &height) {
			w.refs[id] = 0
		}
	}
	if w.kinds[id] == kindFuncProto {
		w.spellParams(id, depth, &height)
	}
	w.heights[id] = height + 1
}

func (w *walk) spellParams(id uint32, depth int, height *uint8) {
	r := w.record(id)
	for i := range r.parts {
		typ := w.partType(id, r, i)
		if typ == 0 || w.composite(typ) {
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
	case kindInt, kindEnum, kindEnum64, kindFloat:
		w.sizes[id] = uint64(w.record(id).value)
	case kindPtr:
		w.sizes[id] = 8
	case kindTypedef, kindVolatile, kindConst, kindRestrict, kindTypeTag:
		w.sizes[id] = w.measureRef(id, depth, &height)
	case kindArray:
		r := w.record(id)
		w.sizes[id] = w.measureRef(id, depth, &height) * w.elements(id, r)
	case kindStruct, kindUnion:
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
		w.sizes[id] = uint64(w.record(id).value)
	}
	for _, id := range all {
		w.measureMembers(id, depth, height)
	}
}

func (w *walk) measureMembers(id uint32, depth int, height *uint8) {
	r := w.record(id)
	for i := range r.parts {
		if typ := w.partType(id, r, i); typ != 0 {
			w.measure(typ, depth+1)
			if !w.standsOn(typ, height) {
				w.drop(id, i)
				continue
			}
		}
		if m := w.member(id, r, i); !w.fits(m, r) {
			w.cuts++
			w.drop(id, i)
		}
	}
}

// fits reports whether a member lies in its struct, a bit field in its integer, and anything else at a whole byte.
func (w *walk) fits(m member, in record) bool {
	bits := w.sizes[m.typ] * 8
	if m.width != 0 {
		if k := w.kinds[w.plain(m.typ)]; k != kindInt && k != kindEnum && k != kindEnum64 {
			return false
		}
		if uint64(m.width) > bits {
			return false
		}
		bits = uint64(m.width)
	} else if m.bit%8 != 0 {
		return false
	}
	return m.typ != 0 && m.bit+bits <= uint64(in.value)*8
}

func (t *types) composite(id uint32) bool {
	return t.kinds[id] == kindStruct || t.kinds[id] == kindUnion
}

// partType returns the type of member or parameter number i, or void if it was dropped.
func (t *types) partType(id uint32, r record, i int) uint32 {
	if len(t.dropped) > 0 && t.dropped[partKey(id, i)] {
		return 0
	}
	return t.valid(binary.LittleEndian.Uint32(r.rest[i*bytesPerPart[r.kind]+4:]))
}

func (t *types) drop(id uint32, i int) { t.dropped[partKey(id, i)] = true }

// partKey names a part of a type, of which there are less than 65536.
func partKey(id uint32, i int) uint64 { return uint64(id)<<16 | uint64(i) }

// elements returns how many an array has; 0 also if it has no length, or one that cannot be.
func (t *types) elements(id uint32, r record) uint64 {
	n := uint64(binary.LittleEndian.Uint32(r.rest[8:]))
	if size := t.sizes[t.refs[id]]; size != 0 && n > hugest/size {
		return 0
	}
	return n
}
