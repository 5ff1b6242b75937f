package linux

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
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
	known bool   // false: this kernel has no such member
	at    int    // where it begins in a record
	held  uint64 // how much of it a record has, in bytes; see maxMember
}

// nearby is how far members may lie apart, in bytes, and still be read in one piece: a cache line.
const nearby = 64

// maxMember is how many bytes are read of a member whose tag does not say: a number or a pointer, or the first word of a
// struct of which only the offset counts.
const maxMember = 8

// newLayout looks up the members of a struct. members points to a Go struct of fields of type member, whose tag c names
// the path, or the paths by which kernels knew it one after the other: `c:"__state|state"`. Where a tag begins with ?,
// the member may be missing; without any other the kernel cannot be read. The tag max is the largest size that the member has
// in any kernel, in bytes, and maxMember if there is none: of a larger one, by damaged types, no more than that is read.
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
			if m.Size > maxStruct || m.Offset > size {
				return nil, fmt.Errorf("this kernel's types: %s.%s lies %d bytes into %d, with %d bytes: damaged", typ, tag,
					m.Offset, size, m.Size)
			}
			if m.held, err = limited(m.Size, v.Type().Field(i).Tag.Get("max")); err != nil {
				return nil, err
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

// limited returns how much of a member of some size is read, in bytes. most is its tag max.
func limited(size uint64, most string) (uint64, error) {
	if most == "" {
		return min(size, maxMember), nil
	}
	n, err := strconv.ParseUint(most, 10, 16)
	return min(size, n), err
}

// maxStruct is more than any struct of the kernel has whose members are read, in bytes.
const maxStruct = 64 << 10

// maxRecord is more than any record has, in bytes.
const maxRecord = 8 << 10

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
		e.size = max(e.size, m.Offset+m.held-e.offset)
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

// readBlock is how many structs readEach reads at once.
const readBlock = 4096

// readEach reads many structs of one kind, readBlock in a batch, and calls visit with each. The error is visit's, for the
// memory as a whole, or ctx.
func (l *layout) readEach(ctx context.Context, space *mmu.Space, addrs []uint64, visit func(i int, r record) error) error {
	for start := 0; start < len(addrs); start += readBlock {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		records, err := l.read(ctx, space, addrs[start:min(start+readBlock, len(addrs))])
		if err != nil {
			return err
		}
		for i, r := range records {
			if err := visit(start+i, r); err != nil {
				return err
			}
		}
	}
	return nil
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
		copy(p[:], r.data[m.at:m.at+int(min(m.held, 8))])
	}
	return binary.LittleEndian.Uint64(p[:])
}

// int returns a signed number of 4 bytes.
func (m *member) int(r record) int { return int(int32(m.uint(r))) }

// bytes returns the member as far as it was read; nil if this kernel has no such member.
func (m *member) bytes(r record) []byte {
	if !m.known {
		return nil
	}
	return r.data[m.at : m.at+int(m.held)]
}

// text returns a string that ends at its first NUL.
func (m *member) text(r record) string { return cString(m.bytes(r)) }

// count returns how many elements of an array a record has.
func (m *member) count() uint64 { return symbols.Field{Size: m.held, Elem: m.Elem}.Count() }

// element returns the number at index i of an array of numbers or pointers.
func (m *member) element(r record, i int) uint64 {
	var p [8]byte
	if p8 := m.bytes(r); i >= 0 && uint64(i) < m.count() {
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
