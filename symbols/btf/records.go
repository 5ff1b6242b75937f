// Package btf reads the types of a kernel and of its modules from their BTF
// (Documentation/bpf/btf.rst), as far as it is not damaged.
package btf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

// Kind says what a type of BTF is (Documentation/bpf/btf.rst, "Type Encoding";
// include/uapi/linux/btf.h).
type Kind uint8

// The kinds of types.
const (
	KindVoid Kind = iota
	KindInt
	KindPtr
	KindArray
	KindStruct
	KindUnion
	KindEnum
	KindFwd
	KindTypedef
	KindVolatile
	KindConst
	KindRestrict
	KindFunc
	KindFuncProto
	KindVar
	KindDatasec
	KindFloat
	KindDeclTag
	KindTypeTag
	KindEnum64
	kinds
)

// A record is 12 bytes for every type (struct btf_type), then some that its kind asks for: once, or
// for each of its parts, which are members, constants, parameters or variables.
const recordSize = 12

var (
	bytesOnce    = [kinds]int{KindInt: 4, KindArray: 12, KindVar: 4, KindDeclTag: 4}
	bytesPerPart = [kinds]int{
		KindStruct: 12, KindUnion: 12, KindEnum: 8, KindFuncProto: 8, KindDatasec: 12, KindEnum64: 12,
	}
)

// Types are all types of a program: those of the kernel, followed by those of a module if it is
// one. It is immutable and safe for concurrent use. Those from first on are the program's own. Type
// 0 is void.
type Types struct {
	first uint32
	at    []uint32 // by number: where the record lies in kernel, or for a module's own types in module
	kinds []Kind   // by number
	refs  []uint32 // by number: the one type that it refers to, if there is such a type, else 0

	kernel, module records

	signs bool // enumerations say whether they are signed: pahole before 1.24 does not

	// What soundness finds.
	sizes   []uint64        // by number, in bytes; 0 if it is not known
	dropped map[uint64]bool // members and parameters that cannot be, by partKey

	damage error
	names  func() map[string][]uint32 // see indexNames
}

// records are the two halves of a section .BTF.
type records struct {
	types, strings []byte
}

// Record is one type as encoded in BTF.
type Record struct {
	Name  uint32 // see [Types.Name]
	Kind  Kind
	Flag  bool
	Parts int    // members, constants or parameters
	Value uint32 // its size in bytes, or the type that it refers to
	rest  []byte // what follows the fixed part
}

// New reads the BTF of a kernel. It keeps raw. Types after damage are missing, and impossible
// members are omitted: [Types.Damage] says so. The error is for BTF of which nothing can be read.
func New(raw []byte) (*Types, error) {
	t := newTypes()
	return t.finish(t.read(&t.kernel, raw))
}

// NewSplit reads the BTF of a module, which extends that of the kernel. It keeps both.
func NewSplit(kernel, raw []byte) (*Types, error) {
	t := newTypes()
	if err := t.read(&t.kernel, kernel); err != nil {
		return nil, fmt.Errorf("BTF: base BTF of the kernel: %w", err)
	}
	t.first = t.Count()
	return t.finish(t.read(&t.module, raw))
}

func newTypes() *Types {
	t := &Types{first: 1, at: make([]uint32, 1), kinds: make([]Kind, 1), refs: make([]uint32, 1)}
	t.names = sync.OnceValue(t.indexNames)
	return t
}

// finish checks the types that were read, up to damage if there is some.
func (t *Types) finish(damage error) (*Types, error) {
	if t.Count() == 1 { // void
		return nil, fmt.Errorf("BTF: %w", damage)
	}
	t.resolve()
	if t.damage = errors.Join(damage, t.makeSound()); t.damage != nil {
		t.damage = fmt.Errorf("BTF: %w", t.damage)
	}
	return t, nil
}

// Damage returns what is wrong with the BTF, or nil.
func (t *Types) Damage() error { return t.damage }

// First returns the number of the first type that is the program's own: after void, or after the
// kernel's types.
func (t *Types) First() uint32 { return t.first }

// Kind returns the kind of a type.
func (t *Types) Kind(id uint32) Kind { return t.kinds[id] }

// Ref returns the one type that a type refers to, or 0.
func (t *Types) Ref(id uint32) uint32 { return t.refs[id] }

// SizeOf returns the size of a type in bytes; 0 if it is not known.
func (t *Types) SizeOf(id uint32) uint64 { return t.sizes[id] }

// Strings returns the names of the kernel's types; see [Record].
func (t *Types) Strings() []byte { return t.kernel.strings }

// Split reports whether the types are those of a module.
func (t *Types) Split() bool { return t.module.types != nil }

// read notes where each record is, as far as they are whole: a record of an unknown kind has no
// known end.
func (t *Types) read(into *records, raw []byte) error {
	half, err := splitBTF(raw)
	if err != nil {
		return err
	}
	if len(half.types) == 0 {
		return errors.New("it has no types")
	}
	*into = half
	for at := 0; at < len(half.types); {
		r, size := recordAt(half.types[at:])
		if size == 0 {
			return fmt.Errorf("type %d is damaged: this type and all later ones are left out", len(t.at))
		}
		ref := uint32(0)
		switch r.Kind {
		case KindArray:
			ref = binary.LittleEndian.Uint32(r.rest)
		case KindPtr, KindTypedef, KindVolatile, KindConst, KindRestrict, KindFunc, KindFuncProto, KindVar, KindTypeTag:
			ref = r.Value
		}
		t.signs = t.signs || (r.Kind == KindEnum && r.Flag)
		t.at = append(t.at, uint32(at))
		t.kinds = append(t.kinds, r.Kind)
		t.refs = append(t.refs, ref)
		at += size
	}
	return nil
}

// splitBTF finds types and strings by the header of a section .BTF (struct btf_header).
func splitBTF(raw []byte) (records, error) {
	const magic, version, header = 0xeb9f, 1, 24
	if len(raw) < header || len(raw) > MaxSize {
		return records{}, fmt.Errorf("%d bytes", len(raw))
	}
	le := binary.LittleEndian
	if le.Uint16(raw) != magic || raw[2] != version {
		return records{}, fmt.Errorf("starts with % x, want 9f eb 01", raw[:3])
	}
	headerLen := uint64(le.Uint32(raw[4:]))
	if headerLen < header || headerLen > uint64(len(raw)) {
		return records{}, fmt.Errorf("header of %d bytes", headerLen)
	}
	part := func(at int) []byte {
		off, size := uint64(le.Uint32(raw[at:])), uint64(le.Uint32(raw[at+4:]))
		body := raw[headerLen:]
		if off > uint64(len(body)) || size > uint64(len(body))-off {
			return nil
		}
		return body[off:][:size]
	}
	half := records{part(8), part(16)}
	if half.types == nil || half.strings == nil {
		return records{}, errors.New("its header points outside the section")
	}
	return half, nil
}

// recordAt decodes the record that raw starts with and returns its size, or 0 if there is none.
func recordAt(raw []byte) (r Record, size int) {
	if len(raw) < recordSize {
		return r, 0
	}
	info := binary.LittleEndian.Uint32(raw[4:])
	r.Kind = Kind(info >> 24 & 0x1f)
	if r.Kind == KindVoid || r.Kind >= kinds {
		return r, 0
	}
	r.Name = binary.LittleEndian.Uint32(raw)
	r.Flag = info>>31 != 0
	r.Parts = int(info & 0xffff)
	r.Value = binary.LittleEndian.Uint32(raw[8:])
	size = recordSize + bytesOnce[r.Kind] + bytesPerPart[r.Kind]*r.Parts
	if size > len(raw) {
		return r, 0
	}
	r.rest = raw[recordSize:size]
	return r, size
}

// resolve makes every reference one to a type that can be referred to.
func (t *Types) resolve() {
	for id, ref := range t.refs {
		if t.kinds[id] == KindFunc {
			if ref >= t.Count() || t.kinds[ref] != KindFuncProto {
				t.refs[id] = 0
			}
			continue
		}
		t.refs[id] = t.valid(ref)
	}
}

func (t *Types) Count() uint32 { return uint32(len(t.at)) }

// valid returns the type of this number, or void if there is none, or one that no variable can
// have.
func (t *Types) valid(id uint32) uint32 {
	if id >= t.Count() {
		return 0
	}
	switch t.kinds[id] {
	case KindFunc, KindVar, KindDatasec, KindDeclTag:
		return 0
	}
	return id
}

// Untagged returns the type that a type tag, such as __user, applies to.
func (t *Types) Untagged(id uint32) uint32 {
	for t.kinds[id] == KindTypeTag {
		id = t.refs[id]
	}
	return id
}

// Plain returns what a type is without its names and qualifiers.
func (t *Types) Plain(id uint32) uint32 {
	for {
		switch t.kinds[id] {
		case KindTypedef, KindVolatile, KindConst, KindRestrict, KindTypeTag:
			id = t.refs[id]
		default:
			return id
		}
	}
}

// Record returns a type; not void.
func (t *Types) Record(id uint32) Record {
	raw := t.kernel.types
	if id >= t.first && t.module.types != nil {
		raw = t.module.types
	}
	r, _ := recordAt(raw[t.at[id]:])
	return r
}

// maxName is how many bytes a name has at most, with its NUL: KSYM_NAME_LEN, beyond which the
// kernel refuses its own types (__btf_name_valid(), kernel/bpf/btf.c).
const maxName = 512

// Name returns the string at an offset, or nothing if the offset is wild or what is there is too
// long for a name. Damaged strings have no end, and thousands of types have their names in them.
func (t *Types) Name(off uint32) []byte {
	s := t.kernel.strings
	if t.module.strings != nil && off >= uint32(len(s)) {
		s, off = t.module.strings, off-uint32(len(s))
	}
	if off >= uint32(len(s)) {
		return nil
	}
	s = s[off:min(uint64(off)+maxName, uint64(len(s)))]
	return s[:max(0, bytes.IndexByte(s, 0))]
}

// Member is one member of a struct or union. A bit field has a width.
type Member struct {
	Name  uint32 // see [Types.Name]
	Type  uint32 // its number; 0 for a member that was left out
	Bit   uint64 // where it starts, in bits from the start of the struct
	Width uint32 // in bits, of a bit field; else 0
}

// Member returns member number i.
func (t *Types) Member(id uint32, r Record, i int) Member {
	raw := r.rest[i*12:]
	le := binary.LittleEndian
	m := Member{le.Uint32(raw), t.Untagged(t.PartType(id, r, i)), uint64(le.Uint32(raw[8:])), 0}
	if r.Flag {
		m.Width = uint32(m.Bit >> 24)
		m.Bit &= 1<<24 - 1
		return m
	}
	// If the struct has no bit size, the integer has it.
	if in := t.Plain(m.Type); t.kinds[in] == KindInt {
		if ir := t.Record(in); ir.intBits() != ir.Value*8 {
			m.Bit += uint64(ir.intShift())
			m.Width = ir.intBits()
		}
	}
	return m
}

// Encodings of integers; see [Record.IntEncoding].
const (
	IntSigned = 1 << 0
	IntBool   = 1 << 2
)

// IntEncoding returns the encoding of an integer: IntSigned and IntBool.
func (r *Record) IntEncoding() uint8 { return r.rest[3] & 0xf }
func (r *Record) intShift() uint32   { return uint32(r.rest[2]) }
func (r *Record) intBits() uint32    { return uint32(r.rest[0]) }

// Param returns name and type of parameter number i. One of type void means variable arguments.
func (t *Types) Param(id uint32, r Record, i int) (name, typ uint32) {
	return binary.LittleEndian.Uint32(r.rest[i*8:]), t.Untagged(t.PartType(id, r, i))
}

// Constant returns name and value of number i of an enumeration.
func (t *Types) Constant(r Record, i int) (name uint32, value int64) {
	le := binary.LittleEndian
	if r.Kind == KindEnum64 {
		raw := r.rest[i*12:]
		return le.Uint32(raw), int64(uint64(le.Uint32(raw[4:])) | uint64(le.Uint32(raw[8:]))<<32)
	}
	raw := r.rest[i*8:]
	if t.Signed(r) {
		return le.Uint32(raw), int64(int32(le.Uint32(raw[4:])))
	}
	return le.Uint32(raw), int64(le.Uint32(raw[4:]))
}

// Signed reports whether the constants of an enumeration are. What does not say so anywhere had
// none but signed ones.
func (t *Types) Signed(r Record) bool { return r.Flag || (r.Kind == KindEnum && !t.signs) }
