package elfsynth

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"physgdb/symbols/btf"
)

// kind says what a type of BTF is (Documentation/bpf/btf.rst, "Type Encoding"; include/uapi/linux/btf.h).
type kind uint8

const (
	kindVoid kind = iota
	kindInt
	kindPtr
	kindArray
	kindStruct
	kindUnion
	kindEnum
	kindFwd
	kindTypedef
	kindVolatile
	kindConst
	kindRestrict
	kindFunc
	kindFuncProto
	kindVar
	kindDatasec
	kindFloat
	kindDeclTag
	kindTypeTag
	kindEnum64
	kinds
)

// A record is 12 bytes for every type (struct btf_type), then some that its kind asks for: once, or for each of its
// parts, which are members, constants, parameters or variables.
const recordSize = 12

var (
	bytesOnce    = [kinds]int{kindInt: 4, kindArray: 12, kindVar: 4, kindDeclTag: 4}
	bytesPerPart = [kinds]int{
		kindStruct: 12, kindUnion: 12, kindEnum: 8, kindFuncProto: 8, kindDatasec: 12, kindEnum64: 12,
	}
)

// types are all types that a program knows: those of the kernel, and behind them those of a module if it is one.
// Those from first on are the program's own. Type 0 is void.
type types struct {
	first uint32
	at    []uint32 // by number: where the record lies in kernel, or for a module's own types in module
	kinds []kind   // by number
	refs  []uint32 // by number: the one type that it refers to, if there is such a type, else 0

	kernel, module records

	signs bool // enumerations say whether they are signed: pahole before 1.24 does not

	// What soundness finds.
	sizes   []uint64        // by number, in bytes; 0 if it is not known
	dropped map[uint64]bool // members and parameters that cannot be, by partKey
}

// records are the two halves of a section .BTF.
type records struct {
	types, strings []byte
}

// record is one type as it stands in BTF.
type record struct {
	name  uint32 // offset of its name in the strings
	kind  kind
	flag  bool
	parts int
	value uint32 // its size in bytes, or the type that it refers to
	rest  []byte // what follows the fixed part
}

// readTypes reads BTF: that of a kernel, or, if base is given, that of a module which goes on where the kernel's ends.
// With an error it still returns those types that come before the damage.
func readTypes(base, own []byte) (*types, error) {
	t := &types{first: 1, at: make([]uint32, 1), kinds: make([]kind, 1), refs: make([]uint32, 1)}
	if base == nil {
		err := t.read(&t.kernel, own)
		t.resolve()
		return t, err
	}
	if err := t.read(&t.kernel, base); err != nil {
		return nil, fmt.Errorf("of the kernel, which this one goes on from: %w", err)
	}
	t.first = uint32(len(t.at))
	err := t.read(&t.module, own)
	t.resolve()
	return t, err
}

// read notes where each record is, as far as they are whole: a record of an unknown kind has no known end.
func (t *types) read(into *records, raw []byte) error {
	half, err := splitBTF(raw)
	if err != nil {
		return err
	}
	if len(half.types) == 0 {
		return errors.New("it has none")
	}
	*into = half
	for at := 0; at < len(half.types); {
		r, size := recordAt(half.types[at:])
		if size == 0 {
			return fmt.Errorf("type %d is damaged: it and all that follow are left out", len(t.at))
		}
		ref := uint32(0)
		switch r.kind {
		case kindArray:
			ref = binary.LittleEndian.Uint32(r.rest)
		case kindPtr, kindTypedef, kindVolatile, kindConst, kindRestrict, kindFunc, kindFuncProto, kindVar, kindTypeTag:
			ref = r.value
		}
		t.signs = t.signs || (r.kind == kindEnum && r.flag)
		t.at = append(t.at, uint32(at))
		t.kinds = append(t.kinds, r.kind)
		t.refs = append(t.refs, ref)
		at += size
	}
	return nil
}

// splitBTF finds types and strings by the header of a section .BTF (struct btf_header).
func splitBTF(raw []byte) (records, error) {
	const magic, version, header = 0xeb9f, 1, 24
	if len(raw) < header || len(raw) > btf.MaxSize {
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
		return records{}, errors.New("its header points out of it")
	}
	return half, nil
}

// recordAt decodes the record that raw starts with and returns its size, or 0 if there is none.
func recordAt(raw []byte) (r record, size int) {
	if len(raw) < recordSize {
		return r, 0
	}
	info := binary.LittleEndian.Uint32(raw[4:])
	r.kind = kind(info >> 24 & 0x1f)
	if r.kind == kindVoid || r.kind >= kinds {
		return r, 0
	}
	r.name = binary.LittleEndian.Uint32(raw)
	r.flag = info>>31 != 0
	r.parts = int(info & 0xffff)
	r.value = binary.LittleEndian.Uint32(raw[8:])
	size = recordSize + bytesOnce[r.kind] + bytesPerPart[r.kind]*r.parts
	if size > len(raw) {
		return r, 0
	}
	r.rest = raw[recordSize:size]
	return r, size
}

// resolve makes every reference one to a type that can be referred to.
func (t *types) resolve() {
	for id, ref := range t.refs {
		if t.kinds[id] == kindFunc {
			if ref >= t.count() || t.kinds[ref] != kindFuncProto {
				t.refs[id] = 0
			}
			continue
		}
		t.refs[id] = t.valid(ref)
	}
}

func (t *types) count() uint32 { return uint32(len(t.at)) }

// valid returns the type of this number, or void if there is none, or one that no variable can have.
func (t *types) valid(id uint32) uint32 {
	if id >= t.count() {
		return 0
	}
	switch t.kinds[id] {
	case kindFunc, kindVar, kindDatasec, kindDeclTag:
		return 0
	}
	return id
}

// untagged returns what a type tag, such as __user, stands before.
func (t *types) untagged(id uint32) uint32 {
	for t.kinds[id] == kindTypeTag {
		id = t.refs[id]
	}
	return id
}

// plain returns what a type is without its names and qualifiers.
func (t *types) plain(id uint32) uint32 {
	for {
		switch t.kinds[id] {
		case kindTypedef, kindVolatile, kindConst, kindRestrict, kindTypeTag:
			id = t.refs[id]
		default:
			return id
		}
	}
}

// record returns a type; not void.
func (t *types) record(id uint32) record {
	raw := t.kernel.types
	if id >= t.first && t.module.types != nil {
		raw = t.module.types
	}
	r, _ := recordAt(raw[t.at[id]:])
	return r
}

// longestName is how many bytes a name has at most, with its NUL: KSYM_NAME_LEN, beyond which the kernel refuses its own
// types (__btf_name_valid(), kernel/bpf/btf.c).
const longestName = 512

// name returns the string at an offset, or nothing if the offset is wild or what is there is too long for a name. Damaged
// strings have no end, and thousands of types have their names in them.
func (t *types) name(off uint32) []byte {
	s := t.kernel.strings
	if t.module.strings != nil && off >= uint32(len(s)) {
		s, off = t.module.strings, off-uint32(len(s))
	}
	if off >= uint32(len(s)) {
		return nil
	}
	s = s[off:min(uint64(off)+longestName, uint64(len(s)))]
	return s[:max(0, bytes.IndexByte(s, 0))]
}

// member is one of a struct or union. A bit field has a width.
type member struct {
	name  uint32
	typ   uint32
	bit   uint64 // where it starts
	width uint32 // bits, of a bit field; else 0
}

// member returns member number i.
func (t *types) member(id uint32, r record, i int) member {
	raw := r.rest[i*12:]
	le := binary.LittleEndian
	m := member{le.Uint32(raw), t.untagged(t.partType(id, r, i)), uint64(le.Uint32(raw[8:])), 0}
	if r.flag {
		m.width = uint32(m.bit >> 24)
		m.bit &= 1<<24 - 1
		return m
	}
	// Where structs do not tell, the integer tells.
	if in := t.plain(m.typ); t.kinds[in] == kindInt {
		if ir := t.record(in); ir.intBits() != ir.value*8 {
			m.bit += uint64(ir.intShift())
			m.width = ir.intBits()
		}
	}
	return m
}

// What follows an integer's record.
const (
	intSigned = 1 << 0
	intBool   = 1 << 2
)

func (r *record) intEncoding() uint8 { return r.rest[3] & 0xf }
func (r *record) intShift() uint32   { return uint32(r.rest[2]) }
func (r *record) intBits() uint32    { return uint32(r.rest[0]) }

// param returns name and type of parameter number i. One of type void stands for all that may follow.
func (t *types) param(id uint32, r record, i int) (name, typ uint32) {
	return binary.LittleEndian.Uint32(r.rest[i*8:]), t.untagged(t.partType(id, r, i))
}

// constant returns name and value of number i of an enumeration.
func (t *types) constant(r record, i int) (name uint32, value int64) {
	le := binary.LittleEndian
	if r.kind == kindEnum64 {
		raw := r.rest[i*12:]
		return le.Uint32(raw), int64(uint64(le.Uint32(raw[4:])) | uint64(le.Uint32(raw[8:]))<<32)
	}
	raw := r.rest[i*8:]
	if t.signed(r) {
		return le.Uint32(raw), int64(int32(le.Uint32(raw[4:])))
	}
	return le.Uint32(raw), int64(le.Uint32(raw[4:]))
}

// signed reports whether the constants of an enumeration are. What does not say so anywhere had none but signed ones.
func (t *types) signed(r record) bool { return r.flag || (r.kind == kindEnum && !t.signs) }
