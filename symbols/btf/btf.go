// Package btf reads the types of a kernel from its BTF (Documentation/bpf/btf.rst).
package btf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf/btf"

	"physgdb/symbols"
)

// Types is the [symbols.Types] of a kernel, from the BTF in its vmlinux or in its memory. It is safe for concurrent use.
type Types struct {
	spec *btf.Spec

	mu    sync.Mutex
	known map[string]btf.Type // structs, unions and enums by name
}

// New takes the types from a raw BTF section.
func New(raw []byte) (b *Types, err error) {
	defer recoverTo(&err, "BTF")
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(cutNames(raw)))
	if err != nil {
		return nil, fmt.Errorf("BTF: %w", err)
	}
	return &Types{spec: spec, known: map[string]btf.Type{}}, nil
}

// maxBTFName bounds a name in BTF, in bytes with its NUL: KSYM_NAME_LEN, beyond which the kernel refuses its own types
// (__btf_name_valid(), kernel/bpf/btf.c).
const maxBTFName = 512

// cutNames returns BTF whose names have at most maxBTFName bytes: raw itself, or a copy in which longer ones are cut. Any
// number of types can share one, and all of it is looked at for each.
func cutNames(raw []byte) []byte {
	const stringsField = 16 // of struct btf_header
	if _, err := Size(raw); err != nil {
		return raw
	}
	le := binary.LittleEndian
	start := uint64(le.Uint32(raw[4:])) + uint64(le.Uint32(raw[stringsField:]))
	names := raw[start:][:le.Uint32(raw[stringsField+4:])]
	copied := false
	for at := 0; at < len(names); {
		n := bytes.IndexByte(names[at:min(at+maxBTFName, len(names))], 0)
		if n >= 0 || at+maxBTFName >= len(names) {
			at += max(n, 0) + 1
			if n < 0 {
				break
			}
			continue
		}
		if !copied {
			raw, copied = bytes.Clone(raw), true
			names = raw[start:][:len(names)]
		}
		at += maxBTFName
		names[at-1] = 0
	}
	return raw
}

// Read returns the types in the section .BTF of an ELF file. The error is [symbols.ErrNoType] if there is none.
func Read(f *elf.File) (*Types, error) {
	raw, err := Section(f)
	if err != nil {
		return nil, err
	}
	return New(raw)
}

// Section returns the content of the section .BTF of an ELF file. The error is [symbols.ErrNoType] if there is none.
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
		return 0, fmt.Errorf("BTF: damaged: a header of %d bytes, %d in all", header, size)
	}
	return int(size), nil
}

// recoverTo turns a panic of a parser that met damaged data into an error.
func recoverTo(err *error, what string) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s: damaged: %v", what, p)
	}
}

func (b *Types) Field(typ, path string) (f symbols.Field, err error) {
	defer recoverTo(&err, "BTF of "+typ)
	steps, err := symbols.ParsePath(path)
	if err != nil {
		return symbols.Field{}, err
	}
	t, err := b.composite(typ)
	if err != nil {
		return symbols.Field{}, err
	}
	var offset uint64
	for _, s := range steps {
		var at uint64
		if t, at, err = member(t, s.Name, nil); err != nil {
			return symbols.Field{}, fmt.Errorf("%s.%s: %w", typ, path, err)
		}
		offset += at
		for _, i := range s.Indices {
			array, ok := btf.UnderlyingType(t).(*btf.Array)
			if !ok {
				return symbols.Field{}, fmt.Errorf("%s.%s: %s is no array: %w", typ, path, s.Name, symbols.ErrNoMember)
			}
			t = array.Type
			size, err := sizeOf(t)
			if err != nil {
				return symbols.Field{}, fmt.Errorf("%s.%s: %w", typ, path, err)
			}
			offset += i * size
		}
	}
	f, err = fieldOf(t, offset)
	if err != nil {
		return symbols.Field{}, fmt.Errorf("%s.%s: %w", typ, path, err)
	}
	return f, nil
}

func (b *Types) Size(typ string) (size uint64, err error) {
	defer recoverTo(&err, "BTF of "+typ)
	t, err := b.composite(typ)
	if err != nil {
		return 0, err
	}
	return sizeOf(t)
}

func (b *Types) Enum(typ, constant string) (value int64, err error) {
	defer recoverTo(&err, "BTF of "+typ)
	t, err := b.lookup(typ, func(t btf.Type) bool { _, ok := t.(*btf.Enum); return ok })
	if err != nil {
		return 0, fmt.Errorf("enum %s: %w", typ, err)
	}
	for _, v := range t.(*btf.Enum).Values {
		if v.Name == constant {
			return int64(v.Value), nil
		}
	}
	return 0, fmt.Errorf("enum %s: %s: %w", typ, constant, symbols.ErrNoMember)
}

// composite finds a struct or union by its name.
func (b *Types) composite(name string) (btf.Type, error) {
	t, err := b.lookup(name, func(t btf.Type) bool { return membersOf(t) != nil })
	if err != nil {
		return nil, fmt.Errorf("struct %s: %w", name, err)
	}
	return t, nil
}

// lookup finds the type of this name that is wanted, itself or behind a typedef.
func (b *Types) lookup(name string, wanted func(btf.Type) bool) (btf.Type, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t, ok := b.known[name]; ok && wanted(t) {
		return t, nil
	}
	all, err := b.spec.AnyTypesByName(name)
	if err != nil && !errors.Is(err, btf.ErrNotFound) {
		return nil, err
	}
	for _, t := range all {
		if t = btf.UnderlyingType(t); wanted(t) {
			b.known[name] = t
			return t, nil
		}
	}
	return nil, symbols.ErrNoType
}

func membersOf(t btf.Type) []btf.Member {
	switch t := t.(type) {
	case *btf.Struct:
		return t.Members
	case *btf.Union:
		return t.Members
	}
	return nil
}

// member finds a member by name, in t itself or in its anonymous members, and its offset in bytes. seen are the types
// that were looked into: damaged ones may contain themselves.
func member(t btf.Type, name string, seen map[btf.Type]bool) (btf.Type, uint64, error) {
	t = btf.UnderlyingType(t)
	for _, m := range membersOf(t) {
		switch {
		case m.Name == name && m.BitfieldSize != 0:
			return nil, 0, fmt.Errorf("%s is a bit field: %w", name, symbols.ErrNoMember)
		case m.Name == name:
			return m.Type, uint64(m.Offset.Bytes()), nil
		case m.Name == "" && !seen[m.Type]:
			if seen == nil {
				seen = map[btf.Type]bool{}
			}
			seen[m.Type] = true
			if found, at, err := member(m.Type, name, seen); err == nil {
				return found, uint64(m.Offset.Bytes()) + at, nil
			}
		}
	}
	return nil, 0, fmt.Errorf("%s: %w", name, symbols.ErrNoMember)
}

func fieldOf(t btf.Type, offset uint64) (symbols.Field, error) {
	size, err := sizeOf(t)
	if err != nil {
		return symbols.Field{}, err
	}
	f := symbols.Field{Offset: offset, Size: size, Elem: size}
	if array, ok := btf.UnderlyingType(t).(*btf.Array); ok {
		if f.Elem, err = sizeOf(array.Type); err != nil {
			return symbols.Field{}, err
		}
	}
	return f, nil
}

func sizeOf(t btf.Type) (uint64, error) {
	n, err := btf.Sizeof(t)
	if err != nil {
		return 0, err
	}
	return uint64(n), nil
}
