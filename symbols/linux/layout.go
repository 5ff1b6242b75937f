package linux

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"physgdb/mmu"
	"physgdb/symbols"
)

// layout is the members of one kernel struct that are of interest, as the kernel in memory lays them out. A record is
// what was read of one such struct: the members alone, one behind the other, as a task_struct has 10 KB of which a few
// dozen bytes tell all.
type layout struct {
	typ     string
	size    uint64 // of the whole struct, in bytes
	extents []extent
	packed  int // bytes of a record
}

// extent is a stretch of a struct, and where it begins in a record.
type extent struct {
	offset, size uint64
	at           int
}

// member is a member of a kernel struct.
type member struct {
	symbols.Field
	known bool // false: this kernel has no such member
	at    int  // where it begins in a record
}

// nearby is how far members may lie apart, in bytes, and still be read in one piece: a cache line.
const nearby = 64

// newLayout looks up the members of a struct. members points to a Go struct of fields of type member, whose tag c names
// the path, or the paths by which kernels knew it one after the other: `c:"__state|state"`. Where a tag begins with ?,
// the member may be missing; without any other the kernel cannot be read.
func newLayout(types symbols.Types, typ string, members any) (*layout, error) {
	size, err := types.Size(typ)
	if err != nil {
		return nil, fmt.Errorf("this kernel's types: %w", err)
	}
	l := &layout{typ: typ, size: size}
	v := reflect.ValueOf(members).Elem()
	var found []*member
	for i := range v.NumField() {
		if v.Field(i).Type() != reflect.TypeFor[member]() {
			continue
		}
		m := v.Field(i).Addr().Interface().(*member)
		tag, optional := strings.CutPrefix(v.Type().Field(i).Tag.Get("c"), "?")
		if m.Field, err = fieldOf(types, typ, tag); err == nil {
			if m.Size > maxRecord || m.Offset > size {
				return nil, fmt.Errorf("this kernel's types: %s.%s lies %d bytes into %d, with %d bytes: damaged", typ, tag,
					m.Offset, size, m.Size)
			}
			m.known = true
			found = append(found, m)
		} else if !optional {
			return nil, fmt.Errorf("this kernel's types: %w", err)
		}
	}
	l.pack(found)
	if l.packed > maxRecord {
		return nil, fmt.Errorf("this kernel's types: struct %s is too large to be true: damaged", typ)
	}
	return l, nil
}

// maxRecord is more than any record has, in bytes.
const maxRecord = 64 << 10

// fieldOf finds a member by the first of its names that the kernel knows.
func fieldOf(types symbols.Types, typ, names string) (f symbols.Field, err error) {
	for name := range strings.SplitSeq(names, "|") {
		f, err = types.Field(typ, name)
		if err == nil || !errors.Is(err, symbols.ErrNoMember) {
			return f, err
		}
	}
	return f, err
}

// pack decides which stretches of the struct are read.
func (l *layout) pack(members []*member) {
	slices.SortFunc(members, func(a, b *member) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, m := range members {
		last := len(l.extents) - 1
		if last < 0 || m.Offset > l.extents[last].offset+l.extents[last].size+nearby {
			l.extents = append(l.extents, extent{offset: m.Offset, at: l.packed})
			last++
		}
		e := &l.extents[last]
		e.size = max(e.size, m.Offset+m.Size-e.offset)
		m.at = e.at + int(m.Offset-e.offset)
		l.packed = e.at + int(e.size)
	}
}

// record is the members of one struct as they were read, or why they were not.
type record struct {
	data []byte
	err  error
}

// read reads many structs of one kind in one batch. The error is for the memory as a whole, or ctx.
func (l *layout) read(ctx context.Context, space *mmu.Space, addrs []uint64) ([]record, error) {
	records := make([]record, len(addrs))
	ops := make([]mmu.Op, 0, len(addrs)*len(l.extents))
	data := make([]byte, len(addrs)*l.packed)
	for i, addr := range addrs {
		records[i].data = data[i*l.packed : (i+1)*l.packed]
		for _, e := range l.extents {
			ops = append(ops, mmu.Op{VA: addr + e.offset, Buf: records[i].data[e.at : e.at+int(e.size)]})
		}
	}
	if err := space.ReadAll(ctx, ops); err != nil {
		return nil, err
	}
	for i := range ops {
		if r := &records[i/len(l.extents)]; ops[i].Err != nil && r.err == nil {
			r.err = fmt.Errorf("struct %s at %#x: %w", l.typ, addrs[i/len(l.extents)], ops[i].Err)
		}
	}
	return records, nil
}

// readOne reads one struct.
func (l *layout) readOne(ctx context.Context, space *mmu.Space, addr uint64) (record, error) {
	records, err := l.read(ctx, space, []uint64{addr})
	if err != nil {
		return record{}, err
	}
	return records[0], records[0].err
}

// recordIn returns the members of a struct whose bytes are all there.
func (l *layout) recordIn(whole []byte) record {
	r := record{data: make([]byte, l.packed)}
	for _, e := range l.extents {
		copy(r.data[e.at:][:e.size], whole[min(e.offset, uint64(len(whole))):])
	}
	return r
}

// uint returns a number of at most 8 bytes, or 0 if this kernel has no such member.
func (m *member) uint(r record) uint64 {
	var p [8]byte
	if m.known {
		copy(p[:], r.data[m.at:m.at+int(min(m.Size, 8))])
	}
	return binary.LittleEndian.Uint64(p[:])
}

// int returns a signed number of 4 bytes.
func (m *member) int(r record) int { return int(int32(m.uint(r))) }

// bytes returns the member as it was read; nil if this kernel has no such member.
func (m *member) bytes(r record) []byte {
	if !m.known {
		return nil
	}
	return r.data[m.at : m.at+int(m.Size)]
}

// text returns a string that ends at its first NUL.
func (m *member) text(r record) string { return cString(m.bytes(r)) }

// element returns the number at index i of an array of numbers or pointers.
func (m *member) element(r record, i int) uint64 {
	var p [8]byte
	if p8 := m.bytes(r); i >= 0 && uint64(i) < m.Count() {
		copy(p[:], p8[i*int(m.Elem):][:min(m.Elem, 8)])
	}
	return binary.LittleEndian.Uint64(p[:])
}

// cString returns the bytes up to the first NUL.
func cString(p []byte) string {
	for i, c := range p {
		if c == 0 {
			return string(p[:i])
		}
	}
	return string(p)
}
