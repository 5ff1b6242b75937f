// Package dwarf reads types, source lines and call frame information from the DWARF of an ELF file.
// Unlike debug/dwarf, which it uses, it decodes only the units that a query needs.
package dwarf

import (
	"debug/dwarf"
	"encoding/binary"
	"fmt"
	"io/fs"
	"runtime/debug"
	"slices"
	"sync"

	"physgdb/symbols"
)

// Types is the [symbols.Types] of a kernel by the DWARF of its vmlinux, for kernels without BTF. It
// decodes the units in which it finds what it is asked for, and no others. It is safe for
// concurrent use.
type Types struct {
	mu     sync.Mutex
	file   *debugFile // nil when closed
	decode unitDecoder
	units  []*typeUnit            // those decoded
	known  map[typeKey]*typePlace // what was found; nil for what is nowhere
}

// typeKey is a type by its name; enumerations have a namespace of their own, as with the keyword in
// C.
type typeKey struct {
	name string
	enum bool
}

// fits reports whether an entry with this tag may be the type: a typedef may name any type.
func (k typeKey) fits(tag dwarf.Tag) bool {
	switch tag {
	case dwarf.TagTypedef:
		return true
	case dwarf.TagEnumerationType:
		return k.enum
	}
	return !k.enum && hasMembers(tag)
}

// typePlace is where the definition of a type is.
type typePlace struct {
	data *dwarf.Data
	off  dwarf.Offset
}

// OpenTypes finds the debug information of an ELF file. The file must not change until Close.
func OpenTypes(path string) (d *Types, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverTo(&err, path)
	file, err := openDebugFile(path)
	if err != nil {
		return nil, err
	}
	return newTypes(file), nil
}

func newTypes(file *debugFile) *Types {
	return &Types{file: file, decode: newUnitDecoder(file.sections), known: map[typeKey]*typePlace{}}
}

// Close forgets the file. All questions after it fail.
func (d *Types) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file == nil {
		return fs.ErrClosed
	}
	file := d.file
	d.file, d.units, d.known = nil, nil, nil
	return file.Close()
}

// Field implements Types.
func (d *Types) Field(typ, path string) (f symbols.Field, err error) {
	steps, err := symbols.ParsePath(path)
	if err != nil {
		return symbols.Field{}, err
	}
	err = d.ask(typeKey{name: typ}, func(t dwarfType) error {
		if f, err = t.field(steps); err != nil {
			return fmt.Errorf("%s.%s: %w", typ, path, err)
		}
		return nil
	})
	return f, err
}

// Size implements Types.
func (d *Types) Size(typ string) (size uint64, err error) {
	err = d.ask(typeKey{name: typ}, func(t dwarfType) error {
		size, err = t.size()
		return err
	})
	return size, err
}

// Enum implements Types.
func (d *Types) Enum(typ, constant string) (value int64, err error) {
	err = d.ask(typeKey{typ, true}, func(t dwarfType) error {
		if value, err = t.constant(constant); err != nil {
			return fmt.Errorf("enum %s: %w", typ, err)
		}
		return nil
	})
	return value, err
}

// ask finds a type and puts a question to it.
func (d *Types) ask(key typeKey, question func(dwarfType) error) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file == nil {
		return fs.ErrClosed
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverTo(&err, "debug information of "+key.name)
	place, err := d.find(key)
	if err != nil {
		return fmt.Errorf("debug information of %s: %w", key.name, err)
	}
	if place == nil {
		return fmt.Errorf("%s: %w", key.name, symbols.ErrNoType)
	}
	return question(newDWARFType(*place))
}

// find looks for a type in the units decoded already, then in those that have its name somewhere.
func (d *Types) find(key typeKey) (*typePlace, error) {
	if place, ok := d.known[key]; ok {
		return place, nil
	}
	for _, u := range d.units {
		if place := u.lookup(key); place != nil {
			d.known[key] = place
			return place, nil
		}
	}
	search := newNameSearch(d.file.sections, key.name)
	for h, err := range d.file.unitHeaders() {
		if err != nil {
			return nil, err
		}
		u, err := d.search(h, key, search)
		if err != nil {
			return nil, err
		}
		if u == nil {
			continue
		}
		if place := u.lookup(key); place != nil {
			d.units = append(d.units, u)
			d.known[key] = place
			return place, nil
		}
	}
	d.known[key] = nil
	return nil, nil
}

// search decodes a unit if it may define a type, else it returns nil.
func (d *Types) search(h unitHeader, key typeKey, search *nameSearch) (*typeUnit, error) {
	hits := search.in(h)
	if len(hits) == 0 && !search.everywhere || d.decoded(h) {
		return nil, nil
	}
	data, err := d.decode.open(h)
	if err != nil {
		return nil, err
	}
	if !search.everywhere && !d.mayDefine(key, &data, hits) {
		return nil, nil
	}
	return readTypeNames(data)
}

func (d *Types) decoded(h unitHeader) bool {
	return slices.ContainsFunc(d.units, func(u *typeUnit) bool { return u.off == h.off })
}

// mayDefine reports whether one of the places where a unit has a name may be inside the definition
// of a type of that name. It takes much less time than to read all definitions, of which a unit of
// a kernel has thousands. Most units have the names of most structs, but only in declarations.
func (d *Types) mayDefine(key typeKey, u *unitData, hits []uint64) bool {
	const before = 8 // bytes from the start of an entry to the name in it: its abbreviation, maybe a reference
	types := map[uint64]bool{}
	for a := range d.file.abbrevs(u.unitHeader) {
		types[a.number] = key.fits(a.tag)
	}
	r := u.data.Reader()
	for _, name := range hits {
		for off := max(u.first, name-before); off < name; off++ {
			if number, _ := binary.Uvarint(d.file.sections["info"][off:u.end]); !types[number] {
				continue
			}
			r.Seek(u.in(off))
			if e, err := r.Next(); err == nil && e != nil && e.Val(dwarf.AttrName) == key.name && !declared(e) {
				return true
			}
		}
	}
	return false
}

// declared reports whether an entry only says that there is such a type.
func declared(e *dwarf.Entry) bool {
	d, _ := e.Val(dwarf.AttrDeclaration).(bool)
	return d
}

// typeUnit is a decoded unit and the names of its types.
type typeUnit struct {
	unitData
	names map[string][]dwarf.Offset
}

func readTypeNames(data unitData) (*typeUnit, error) {
	u := &typeUnit{data, map[string][]dwarf.Offset{}}
	_, r, err := u.root()
	if err != nil {
		return nil, err
	}
	for {
		e, err := r.next()
		if err != nil {
			return nil, err
		}
		if e == nil || e.Offset >= u.in(u.end) {
			return u, nil
		}
		switch e.Tag {
		case dwarf.TagStructType, dwarf.TagUnionType, dwarf.TagEnumerationType, dwarf.TagTypedef:
			if name, _ := e.Val(dwarf.AttrName).(string); name != "" && !declared(e) {
				u.names[name] = append(u.names[name], e.Offset)
			}
		}
		if err := r.skipChildren(e); err != nil {
			return nil, err
		}
	}
}

// lookup finds the type of this name that is wanted, itself or through a typedef.
func (u *typeUnit) lookup(key typeKey) *typePlace {
	for _, off := range u.names[key.name] {
		place := typePlace{u.data, off}
		t := newDWARFType(place)
		e, _, err := t.read()
		if err != nil {
			continue
		}
		if key.fits(e.Tag) && !declared(e) {
			return &place
		}
	}
	return nil
}
