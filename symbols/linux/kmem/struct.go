package kmem

import (
	"bytes"
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

// Struct reads kernel structs of one type as values of T, a Go struct. Each exported field of T
// names a member of the kernel struct in its tag c, as a path ("thread.sp") or as several paths of
// which the first that the kernel has is used:
//
//	State uint32 `c:"__state|state"` // renamed in Linux 5.14
//	Files uint64 `c:"?files"`
//
// A leading ? marks a member that a kernel may lack; its field stays zero. Without any other member
// the kernel cannot be read. The types of fields are:
//
//   - unsigned integers and pointers: any unsigned Go type. Of members that are structs, the first
//     8 bytes are read.
//   - signed integers: any signed Go type. The sign is that of the member.
//   - bool: whether the number is not zero.
//   - string: the bytes up to the first NUL.
//   - []byte: all bytes of the member.
//   - []uint64: the elements of an array of numbers or pointers.
//   - struct{}: nothing is read; see [Struct.Offset].
//
// The tag max is required for the last three types that read memory. It is the largest size of the
// member in any kernel, in bytes; damaged type information cannot make a read larger.
//
// Only the members are read, not the whole struct: of the 10 KB of a task_struct a few dozen bytes
// are needed. A Struct is immutable and safe for concurrent use.
type Struct[T any] struct {
	name    string
	size    uint64
	members []member
	extents []extent
	packed  int // bytes of a record
}

// member is a member of a kernel struct and the field of T that holds it.
type member struct {
	symbols.Field
	name  string // of the field of T
	index int    // of the field of T
	known bool   // false: this kernel has no such member
	at    int    // where it begins in a record
	held  uint64 // how much of it a record has, in bytes
}

// extent is a part of a struct that is read in one piece, and where it begins in a record. A record
// is the extents of one struct in sequence.
type extent struct {
	offset, size uint64
	at           int
}

// Limits of structs. Damaged type information may exceed them.
const (
	maxStruct = 64 << 10 // bytes up to the end of a member
	maxRecord = 8 << 10  // bytes read of one struct
	maxNumber = 8        // bytes of a number
	maxGap    = 64       // bytes between members that are read in one piece: a cache line
)

// NewStruct looks up the members of a kernel struct. Errors wrap [symbols.ErrNoType] or
// [symbols.ErrNoMember] if the kernel has no such struct or lacks a member that is required.
func NewStruct[T any](types symbols.Types, name string) (*Struct[T], error) {
	size, err := types.Size(name)
	if err != nil {
		return nil, fmt.Errorf("this kernel's types: %w", err)
	}
	s := &Struct[T]{name: name, size: size}
	for i, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		m, err := newMember(types, name, size, f)
		if err != nil {
			return nil, fmt.Errorf("this kernel's types: %w", err)
		}
		m.index = i
		s.members = append(s.members, m)
	}
	s.pack()
	if s.packed > maxRecord {
		return nil, fmt.Errorf("this kernel's types: struct %s has %d bytes of members: damaged", name, s.packed)
	}
	return s, nil
}

// newMember looks up the member that a field of T names in its tag.
func newMember(types symbols.Types, name string, size uint64, f reflect.StructField) (member, error) {
	m := member{name: f.Name}
	path, optional := strings.CutPrefix(f.Tag.Get("c"), "?")
	var err error
	if m.Field, err = fieldOf(types, name, path); err != nil {
		if optional {
			err = nil
		}
		return m, err
	}
	if m.Size > maxStruct || m.Offset > size {
		return m, fmt.Errorf("%s.%s is at offset %d of %d, with %d bytes: damaged", name, path, m.Offset, size, m.Size)
	}
	m.known = true
	switch f.Type.Kind() {
	case reflect.Struct:
	case reflect.String, reflect.Slice:
		limit, err := strconv.ParseUint(f.Tag.Get("max"), 10, 16)
		if err != nil {
			return m, fmt.Errorf("field %s has no tag max: %w", f.Name, err)
		}
		m.held = min(m.Size, limit)
	default:
		m.held = min(m.Size, maxNumber)
	}
	return m, nil
}

// fieldOf finds a member by the first of its paths that the kernel has.
func fieldOf(types symbols.Types, name, paths string) (f symbols.Field, err error) {
	for path := range strings.SplitSeq(paths, "|") {
		f, err = types.Field(name, path)
		if err == nil || !errors.Is(err, symbols.ErrNoMember) {
			return f, err
		}
	}
	return f, err
}

// pack divides the members into extents.
func (s *Struct[T]) pack() {
	var read []*member
	for i := range s.members {
		if s.members[i].held > 0 {
			read = append(read, &s.members[i])
		}
	}
	slices.SortFunc(read, func(a, b *member) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, m := range read {
		last := len(s.extents) - 1
		if last < 0 || m.Offset > s.extents[last].offset+s.extents[last].size+maxGap {
			s.extents = append(s.extents, extent{offset: m.Offset, at: s.packed})
			last++
		}
		e := &s.extents[last]
		e.size = max(e.size, m.Offset+m.held-e.offset)
		m.at = e.at + int(m.Offset-e.offset)
		s.packed = e.at + int(e.size)
	}
}

// Size returns the size of the whole kernel struct in bytes.
func (s *Struct[T]) Size() uint64 { return s.size }

// Offset returns the offset of the member that a field of T names, in bytes; 0 if this kernel
// has no such member. It panics if T has no field of that name.
func (s *Struct[T]) Offset(field string) uint64 { return s.Member(field).Offset }

// Has reports whether this kernel has the member that a field of T names. It panics if T has no
// field of that name.
func (s *Struct[T]) Has(field string) bool { return s.member(field).known }

// Member returns where the member is that a field of T names; the zero value if this kernel has
// no such member. It panics if T has no field of that name.
func (s *Struct[T]) Member(field string) symbols.Field { return s.member(field).Field }

func (s *Struct[T]) member(field string) *member {
	i := slices.IndexFunc(s.members, func(m member) bool { return m.name == field })
	return &s.members[i]
}

// Read reads the structs at addrs in one batch. errs has one element for each address: nil, or why
// that struct could not be read; its value is then zero. err is for the memory as a whole, or ctx.
func (s *Struct[T]) Read(ctx context.Context, sp *mmu.Space, addrs []uint64) (values []T, errs []error, err error) {
	ops := make([]mmu.Op, 0, len(addrs)*len(s.extents))
	data := make([]byte, len(addrs)*s.packed)
	for i, addr := range addrs {
		record := data[i*s.packed:]
		for _, e := range s.extents {
			ops = append(ops, mmu.Op{VA: addr + e.offset, Buf: record[e.at:][:e.size:e.size]})
		}
	}
	if err := sp.ReadAll(ctx, ops); err != nil {
		return nil, nil, err
	}
	values, errs = make([]T, len(addrs)), make([]error, len(addrs))
	for i := range ops {
		if at := i / len(s.extents); ops[i].Err != nil && errs[at] == nil {
			errs[at] = fmt.Errorf("struct %s at %#x: %w", s.name, addrs[at], ops[i].Err)
		}
	}
	for i := range values {
		if errs[i] == nil {
			s.decode(data[i*s.packed:][:s.packed], &values[i])
		}
	}
	return values, errs, nil
}

// maxBatch is how many structs ReadEach reads at once.
const maxBatch = 4096

// ReadEach reads the structs at addrs in batches of bounded size and calls visit with each: its
// index, and its value or why it could not be read. The error is visit's, or for the memory as a
// whole, or ctx.
func (s *Struct[T]) ReadEach(
	ctx context.Context, sp *mmu.Space, addrs []uint64, visit func(i int, v *T, err error) error,
) error {
	for start := 0; start < len(addrs); start += maxBatch {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		values, errs, err := s.Read(ctx, sp, addrs[start:min(start+maxBatch, len(addrs))])
		if err != nil {
			return err
		}
		for i := range values {
			if err := visit(start+i, &values[i], errs[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// ReadOne reads the struct at addr.
func (s *Struct[T]) ReadOne(ctx context.Context, sp *mmu.Space, addr uint64) (*T, error) {
	values, errs, err := s.Read(ctx, sp, []uint64{addr})
	if err := cmp.Or(err, firstOf(errs)); err != nil {
		return nil, err
	}
	return &values[0], nil
}

func firstOf(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return errs[0]
}

// Decode returns the members of a struct whose bytes are all in memory of ours. Bytes that are
// missing at the end count as zeros.
func (s *Struct[T]) Decode(whole []byte) T {
	record := make([]byte, s.packed)
	for _, e := range s.extents {
		copy(record[e.at:][:e.size], whole[min(e.offset, uint64(len(whole))):])
	}
	var v T
	s.decode(record, &v)
	return v
}

// decode sets the fields of v.
func (s *Struct[T]) decode(record []byte, v *T) {
	to := reflect.ValueOf(v).Elem()
	for i := range s.members {
		if m := &s.members[i]; m.held > 0 {
			m.decode(record[m.at:][:m.held:m.held], to.Field(m.index))
		}
	}
}

// decode sets a field of T.
func (m *member) decode(p []byte, to reflect.Value) {
	switch kind := to.Kind(); {
	case kind == reflect.Bool:
		to.SetBool(number(p) != 0)
	case kind == reflect.String:
		to.SetString(CString(p))
	case kind == reflect.Slice && to.Type().Elem().Kind() == reflect.Uint8:
		to.SetBytes(p)
	case kind == reflect.Slice:
		to.Set(reflect.ValueOf(m.elements(p)))
	case to.CanInt():
		unused := 64 - 8*len(p)
		to.SetInt(int64(number(p)<<unused) >> unused)
	default:
		to.SetUint(number(p))
	}
}

// elements returns the elements of an array, each of which has at most 8 bytes.
func (m *member) elements(p []byte) []uint64 {
	all := make([]uint64, symbols.Field{Size: m.held, Elem: m.Elem}.Count())
	for i := range all {
		all[i] = number(p[uint64(i)*m.Elem:][:min(m.Elem, maxNumber)])
	}
	return all
}

// number returns a little-endian number of at most 8 bytes.
func number(p []byte) uint64 {
	var whole [maxNumber]byte
	copy(whole[:], p)
	return binary.LittleEndian.Uint64(whole[:])
}

// CString returns the bytes up to the first NUL.
func CString(p []byte) string {
	text, _, _ := bytes.Cut(p, []byte{0})
	return string(text)
}
