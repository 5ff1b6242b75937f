package dwarf

import (
	"debug/dwarf"
	"errors"
	"fmt"
	"math/bits"

	"physgdb/symbols"
)

// dwarfType is a type, read entry by entry as a question needs it.
type dwarfType struct {
	data *dwarf.Data
	left *int // entries that may be read for the question
	off  dwarf.Offset
	dims int // how many dimensions of an array are indexed already
}

// maxTypeEntries is how many entries one question may read; those about the largest structs take
// some thousands.
const maxTypeEntries = 100_000

func newDWARFType(p typePlace) dwarfType {
	left := maxTypeEntries
	return dwarfType{data: p.data, left: &left, off: p.off}
}

func hasMembers(tag dwarf.Tag) bool { return tag == dwarf.TagStructType || tag == dwarf.TagUnionType }

// read reads the entry of a type, without typedefs and qualifiers. The reader is for its children.
func (t *dwarfType) read() (*dwarf.Entry, *entryReader, error) {
	r := &entryReader{t.data.Reader(), t.left}
	off := t.off
	for {
		e, err := r.at(off)
		if err != nil {
			return nil, nil, err
		}
		switch e.Tag {
		case dwarf.TagTypedef, dwarf.TagConstType, dwarf.TagVolatileType, dwarf.TagRestrictType, dwarf.TagAtomicType:
		default:
			return e, r, nil
		}
		to, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
		if !ok {
			return nil, nil, errors.New("void has no size and no members")
		}
		off = to
	}
}

// children visits what lies directly in an entry that was just read. An error of visit ends it.
func children(e *dwarf.Entry, r *entryReader, visit func(*dwarf.Entry) error) error {
	if !e.Children {
		return nil
	}
	for {
		child, err := r.next()
		if err != nil {
			return err
		}
		if child == nil || child.Tag == 0 {
			return nil
		}
		if err := visit(child); err != nil {
			return err
		}
		if err := r.skipChildren(child); err != nil {
			return err
		}
	}
}

// to is the type that an entry refers to.
func (t *dwarfType) to(e *dwarf.Entry) (dwarfType, error) {
	off, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
	if !ok {
		return dwarfType{}, errors.New("an entry without a type")
	}
	return dwarfType{data: t.data, left: t.left, off: off}, nil
}

// field follows a path.
func (t dwarfType) field(steps []symbols.Step) (f symbols.Field, err error) {
	for _, s := range steps {
		var at uint64
		if t, at, err = t.member(s.Name, 0); err != nil {
			return symbols.Field{}, err
		}
		f.Offset += at
		for _, i := range s.Indices {
			if t, err = t.elem(); err != nil {
				return symbols.Field{}, fmt.Errorf("%s: %w", s.Name, err)
			}
			size, err := t.size()
			if err != nil {
				return symbols.Field{}, err
			}
			f.Offset += i * size
		}
	}
	if f.Size, err = t.size(); err != nil {
		return symbols.Field{}, err
	}
	f.Elem = f.Size
	if elem, err := t.elem(); err == nil {
		f.Elem, err = elem.size()
		return f, err
	}
	return f, nil
}

// maxAnonymous is how deep structs without a name may be nested.
const maxAnonymous = 32

// errFound ends the search for a member.
var errFound = errors.New("found")

// member finds a member by name, in t itself or in its anonymous members, and its offset in bytes.
func (t *dwarfType) member(name string, depth int) (found dwarfType, at uint64, err error) {
	e, r, err := t.read()
	if err != nil {
		return dwarfType{}, 0, err
	}
	if !hasMembers(e.Tag) {
		return dwarfType{}, 0, fmt.Errorf("%s: %w", name, symbols.ErrNoMember)
	}
	err = children(e, r, func(m *dwarf.Entry) (err error) {
		if m.Tag != dwarf.TagMember {
			return nil
		}
		switch its, _ := m.Val(dwarf.AttrName).(string); {
		case its == name && m.Val(dwarf.AttrBitSize) != nil:
			return fmt.Errorf("%s is a bit field: %w", name, symbols.ErrNoMember)
		case its == name:
			found, err = t.to(m)
		case its == "" && depth < maxAnonymous:
			inner, err := t.to(m)
			if err != nil {
				return err
			}
			if found, at, err = inner.member(name, depth+1); err != nil {
				return ignore(err, symbols.ErrNoMember)
			}
		default:
			return nil
		}
		if err != nil {
			return err
		}
		start, err := memberStart(m)
		if err != nil {
			return err
		}
		at += start
		return errFound
	})
	switch {
	case errors.Is(err, errFound):
		return found, at, nil
	case err == nil:
		err = fmt.Errorf("%s: %w", name, symbols.ErrNoMember)
	}
	return dwarfType{}, 0, err
}

func ignore(err, kind error) error {
	if errors.Is(err, kind) {
		return nil
	}
	return err
}

// memberStart is the offset of a member in bytes; those of a union have none.
func memberStart(m *dwarf.Entry) (uint64, error) {
	switch v := m.Val(dwarf.AttrDataMemberLoc).(type) {
	case nil:
		return 0, nil
	case int64:
		if v >= 0 {
			return uint64(v), nil
		}
	}
	return 0, errors.New("a member without a constant offset")
}

// elem is the type of an element of an array, or ErrNoMember.
func (t *dwarfType) elem() (dwarfType, error) {
	e, r, err := t.read()
	if err != nil {
		return dwarfType{}, err
	}
	if e.Tag != dwarf.TagArrayType {
		return dwarfType{}, fmt.Errorf("not an array: %w", symbols.ErrNoMember)
	}
	lengths, err := counts(e, r)
	if err != nil {
		return dwarfType{}, err
	}
	if t.dims+1 < len(lengths) {
		return dwarfType{t.data, t.left, e.Offset, t.dims + 1}, nil
	}
	return t.to(e)
}

// counts lists the lengths of an array's dimensions, 0 for one without.
func counts(array *dwarf.Entry, r *entryReader) (lengths []uint64, err error) {
	err = children(array, r, func(dim *dwarf.Entry) error {
		if dim.Tag != dwarf.TagSubrangeType {
			return nil
		}
		n, ok := dim.Val(dwarf.AttrCount).(int64)
		if !ok {
			if n, ok = dim.Val(dwarf.AttrUpperBound).(int64); ok {
				n++
			}
		}
		lengths = append(lengths, uint64(max(n, 0)))
		return nil
	})
	return lengths, err
}

// size is the size of a type in bytes.
func (t *dwarfType) size() (uint64, error) {
	e, r, err := t.read()
	if err != nil {
		return 0, err
	}
	if e.Tag == dwarf.TagArrayType {
		return t.arraySize(e, r)
	}
	if n, ok := e.Val(dwarf.AttrByteSize).(int64); ok && n >= 0 {
		return uint64(n), nil
	}
	if e.Tag == dwarf.TagPointerType {
		return 8, nil
	}
	return 0, fmt.Errorf("%v without a size", e.Tag)
}

func (t *dwarfType) arraySize(array *dwarf.Entry, r *entryReader) (uint64, error) {
	lengths, err := counts(array, r)
	if err != nil {
		return 0, err
	}
	of, err := t.to(array)
	if err != nil {
		return 0, err
	}
	size, err := of.size()
	if err != nil {
		return 0, err
	}
	for _, n := range lengths[min(t.dims, len(lengths)):] {
		high, low := bits.Mul64(size, n)
		if high != 0 {
			return 0, errors.New("an array larger than memory")
		}
		size = low
	}
	return size, nil
}

// constant finds a constant of an enumeration.
func (t dwarfType) constant(name string) (value int64, err error) {
	e, r, err := t.read()
	if err != nil {
		return 0, err
	}
	err = children(e, r, func(c *dwarf.Entry) error {
		its, _ := c.Val(dwarf.AttrName).(string)
		v, ok := c.Val(dwarf.AttrConstValue).(int64)
		if its != name || !ok {
			return nil
		}
		value = v
		return errFound
	})
	switch {
	case errors.Is(err, errFound):
		return value, nil
	case err == nil:
		err = fmt.Errorf("%s: %w", name, symbols.ErrNoMember)
	}
	return 0, err
}
