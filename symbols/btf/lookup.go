package btf

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"

	"physgdb/symbols"
)

// Read returns the types in the section .BTF of an ELF file. The error is [symbols.ErrNoType] if
// there is none.
func Read(f *elf.File) (*Types, error) {
	raw, err := Section(f)
	if err != nil {
		return nil, err
	}
	return New(raw)
}

// Section returns the content of the section .BTF of an ELF file. The error is [symbols.ErrNoType]
// if there is none.
func Section(f *elf.File) ([]byte, error) {
	section := f.Section(".BTF")
	if section == nil || section.Type == elf.SHT_NOBITS {
		return nil, fmt.Errorf("no section .BTF: %w", symbols.ErrNoType)
	}
	raw, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("section .BTF: %w", err)
	}
	return raw, nil
}

// MaxSize bounds the BTF of a kernel, in bytes; kernels have some 5 MB.
const MaxSize = 16 << 20

// Size returns how long the BTF is that p begins with, in bytes, by its header (struct btf_header,
// include/uapi/linux/btf.h).
func Size(p []byte) (int, error) {
	const headerSize = 24
	if len(p) < headerSize {
		return 0, fmt.Errorf("BTF: %d bytes", len(p))
	}
	field := func(at int) uint64 { return uint64(binary.LittleEndian.Uint32(p[at:])) }
	header, typesAt, types, stringsAt, strings := field(4), field(8), field(12), field(16), field(20)
	size := header + max(typesAt+types, stringsAt+strings)
	if header < headerSize || size > uint64(len(p)) {
		return 0, fmt.Errorf("BTF: damaged: a header of %d bytes, total size %d bytes", header, size)
	}
	return int(size), nil
}

// Field implements [symbols.Types].
func (t *Types) Field(typ, path string) (f symbols.Field, err error) {
	steps, err := symbols.ParsePath(path)
	if err != nil {
		return symbols.Field{}, err
	}
	id, err := t.composite(typ)
	if err != nil {
		return symbols.Field{}, err
	}
	if f, err = t.follow(id, steps); err != nil {
		return symbols.Field{}, fmt.Errorf("%s.%s: %w", typ, path, err)
	}
	return f, nil
}

// follow follows a path from a struct or union.
func (t *Types) follow(id uint32, steps []symbols.Step) (f symbols.Field, err error) {
	for _, s := range steps {
		var at uint64
		if id, at, err = t.find(id, s.Name, map[uint32]bool{}); err != nil {
			return symbols.Field{}, err
		}
		f.Offset += at
		for _, i := range s.Indices {
			array := t.Plain(id)
			if t.kinds[array] != KindArray {
				return symbols.Field{}, fmt.Errorf("%s is not an array: %w", s.Name, symbols.ErrNoMember)
			}
			id = t.refs[array]
			f.Offset += i * t.sizes[id]
		}
	}
	if !t.sized(id) {
		return symbols.Field{}, errors.New("its type has no size")
	}
	f.Size, f.Elem = t.sizes[id], t.sizes[id]
	if array := t.Plain(id); t.kinds[array] == KindArray {
		f.Elem = t.sizes[t.refs[array]]
	}
	return f, nil
}

// Size returns the size of a struct or union in bytes.
func (t *Types) Size(typ string) (uint64, error) {
	id, err := t.composite(typ)
	if err != nil {
		return 0, err
	}
	return t.sizes[id], nil
}

// Enum implements [symbols.Types].
func (t *Types) Enum(typ, constant string) (int64, error) {
	id, err := t.lookup(typ, func(id uint32) bool { return t.kinds[id] == KindEnum || t.kinds[id] == KindEnum64 })
	if err != nil {
		return 0, fmt.Errorf("enum %s: %w", typ, err)
	}
	r := t.Record(id)
	for i := range r.Parts {
		if name, value := t.Constant(r, i); string(t.Name(name)) == constant {
			return value, nil
		}
	}
	return 0, fmt.Errorf("enum %s: %s: %w", typ, constant, symbols.ErrNoMember)
}

// composite finds a struct or union by its name.
func (t *Types) composite(name string) (uint32, error) {
	id, err := t.lookup(name, t.Composite)
	if err != nil {
		return 0, fmt.Errorf("struct %s: %w", name, err)
	}
	return id, nil
}

// lookup finds the first type of a name that is wanted, itself or through a typedef.
func (t *Types) lookup(name string, wanted func(id uint32) bool) (uint32, error) {
	for _, id := range t.names()[name] {
		if id = t.Plain(id); wanted(id) {
			return id, nil
		}
	}
	return 0, symbols.ErrNoType
}

// indexNames returns the structs, unions, enumerations and typedefs by their names.
func (t *Types) indexNames() map[string][]uint32 {
	names := map[string][]uint32{}
	for id := uint32(1); id < t.Count(); id++ {
		switch t.kinds[id] {
		case KindStruct, KindUnion, KindEnum, KindEnum64, KindTypedef:
			if name := t.Name(t.Record(id).Name); len(name) > 0 {
				names[string(name)] = append(names[string(name)], id)
			}
		}
	}
	return names
}

// find finds a member by name, in a type itself or in its anonymous members, and its offset in
// bytes. Of a type that was seen before, no member has the name.
func (t *Types) find(id uint32, name string, seen map[uint32]bool) (typ uint32, at uint64, err error) {
	if id = t.Plain(id); t.Composite(id) && !seen[id] {
		seen[id] = true
		r := t.Record(id)
		for i := range r.Parts {
			m := t.Member(id, r, i)
			its := string(t.Name(m.Name))
			switch {
			case m.Type == 0:
			case its == name && m.Width != 0:
				return 0, 0, fmt.Errorf("%s is a bit field: %w", name, symbols.ErrNoMember)
			case its == name:
				return m.Type, m.Bit / 8, nil
			case its == "":
				if typ, at, err := t.find(m.Type, name, seen); err == nil {
					return typ, m.Bit/8 + at, nil
				}
			}
		}
	}
	return 0, 0, fmt.Errorf("%s: %w", name, symbols.ErrNoMember)
}

// sized reports whether a variable can have a type.
func (t *Types) sized(id uint32) bool {
	switch t.kinds[t.Plain(id)] {
	case KindVoid, KindFwd, KindFuncProto:
		return false
	}
	return true
}
