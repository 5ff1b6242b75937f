package btf_test

import (
	"encoding/binary"
	"errors"
	"testing"

	cilium "github.com/cilium/ebpf/btf"

	"physgdb/symbols"
	"physgdb/symbols/btf"
)

// exampleBTF is the raw BTF of
//
//	typedef unsigned int u32;
//	enum color { RED = 3, BLUE = -1 };
//	struct inner { u32 a; u32 b[2][3]; };
//	typedef struct { u32 only; } nameless;
//	struct outer {
//		u32 first;
//		union { u32 x; struct { u32 y, z; }; };
//		unsigned flag : 1;
//		struct inner in[4];
//		struct outer *self;
//		char tail[];
//	};
func exampleBTF(t testing.TB) []byte {
	t.Helper()
	u32 := &cilium.Typedef{Name: "u32", Type: &cilium.Int{Name: "unsigned int", Size: 4}}
	index := &cilium.Int{Name: "int", Size: 4, Encoding: cilium.Signed}
	rows := &cilium.Array{Index: index, Type: &cilium.Array{Index: index, Type: u32, Nelems: 3}, Nelems: 2}
	inner := &cilium.Struct{Name: "inner", Size: 28, Members: []cilium.Member{
		{Name: "a", Type: u32}, {Name: "b", Type: rows, Offset: 32},
	}}
	pair := &cilium.Struct{Size: 8, Members: []cilium.Member{{Name: "y", Type: u32}, {Name: "z", Type: u32, Offset: 32}}}
	either := &cilium.Union{Size: 8, Members: []cilium.Member{{Name: "x", Type: u32}, {Type: pair}}}
	outer := &cilium.Struct{Name: "outer", Size: 136}
	outer.Members = []cilium.Member{
		{Name: "first", Type: u32},
		{Type: either, Offset: 4 * 8},
		{Name: "flag", Type: u32, Offset: 12 * 8, BitfieldSize: 1},
		{Name: "in", Type: &cilium.Array{Index: index, Type: inner, Nelems: 4}, Offset: 16 * 8},
		{Name: "self", Type: &cilium.Pointer{Target: outer}, Offset: 128 * 8},
		{Name: "tail", Type: &cilium.Array{Index: index, Type: &cilium.Int{Name: "char", Size: 1}}, Offset: 136 * 8},
	}
	color := &cilium.Enum{Name: "color", Size: 4, Signed: true, Values: []cilium.EnumValue{
		{Name: "RED", Value: 3}, {Name: "BLUE", Value: 0xffff_ffff_ffff_ffff},
	}}
	nameless := &cilium.Typedef{Name: "nameless", Type: &cilium.Struct{Size: 4, Members: []cilium.Member{{Name: "only", Type: u32}}}}
	b, err := cilium.NewBuilder([]cilium.Type{outer, color, nameless}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, &cilium.MarshalOptions{Order: binary.LittleEndian})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestBTFFindsMembers(t *testing.T) {
	types, err := btf.New(exampleBTF(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		typ, path string
		want      symbols.Field
		err       error
	}{
		{"outer", "first", symbols.Field{Offset: 0, Size: 4, Elem: 4}, nil},
		{"outer", "x", symbols.Field{Offset: 4, Size: 4, Elem: 4}, nil},
		{"outer", "z", symbols.Field{Offset: 8, Size: 4, Elem: 4}, nil},
		{"outer", "in", symbols.Field{Offset: 16, Size: 112, Elem: 28}, nil},
		{"outer", "in[2].b[1][2]", symbols.Field{Offset: 16 + 56 + 4 + 20, Size: 4, Elem: 4}, nil},
		{"outer", "in[2].b[1]", symbols.Field{Offset: 16 + 56 + 4 + 12, Size: 12, Elem: 4}, nil},
		{"outer", "self", symbols.Field{Offset: 128, Size: 8, Elem: 8}, nil},
		{"outer", "tail", symbols.Field{Offset: 136, Size: 0, Elem: 1}, nil},
		{"outer", "tail[5]", symbols.Field{Offset: 141, Size: 1, Elem: 1}, nil},
		{"nameless", "only", symbols.Field{Offset: 0, Size: 4, Elem: 4}, nil},
		{"outer", "flag", symbols.Field{}, symbols.ErrNoMember},
		{"outer", "none", symbols.Field{}, symbols.ErrNoMember},
		{"outer", "first.deeper", symbols.Field{}, symbols.ErrNoMember},
		{"outer", "first[0]", symbols.Field{}, symbols.ErrNoMember},
		{"outer", "self.first", symbols.Field{}, symbols.ErrNoMember}, // a pointer is not followed
		{"none", "first", symbols.Field{}, symbols.ErrNoType},
		{"color", "first", symbols.Field{}, symbols.ErrNoType},
	} {
		got, err := types.Field(tc.typ, tc.path)
		if got != tc.want || !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
			t.Errorf("%s.%s: %+v, %v; want %+v, %v", tc.typ, tc.path, got, err, tc.want, tc.err)
		}
	}
	for _, path := range []string{"", ".first", "first.", "in[x]", "in[", "in[1", "in[1]x", "in[-1]"} {
		if f, err := types.Field("outer", path); err == nil {
			t.Errorf("path %q: %+v", path, f)
		}
	}
}

func TestBTFFindsSizesAndConstants(t *testing.T) {
	types, err := btf.New(exampleBTF(t))
	if err != nil {
		t.Fatal(err)
	}
	for typ, want := range map[string]uint64{"outer": 136, "inner": 28, "nameless": 4} {
		if got, err := types.Size(typ); got != want || err != nil {
			t.Errorf("size of %s: %d, %v; want %d", typ, got, err, want)
		}
	}
	if _, err := types.Size("none"); !errors.Is(err, symbols.ErrNoType) {
		t.Errorf("size of no type: %v", err)
	}
	for constant, want := range map[string]int64{"RED": 3, "BLUE": -1} {
		if got, err := types.Enum("color", constant); got != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", constant, got, err, want)
		}
	}
	if _, err := types.Enum("color", "GREEN"); !errors.Is(err, symbols.ErrNoMember) {
		t.Errorf("no constant: %v", err)
	}
	if _, err := types.Enum("outer", "RED"); !errors.Is(err, symbols.ErrNoType) {
		t.Errorf("no enumeration: %v", err)
	}
}

func FuzzBTF(f *testing.F) {
	raw := exampleBTF(f)
	f.Add(raw, "outer", "in[2].b[1][2]")
	f.Add(raw[:len(raw)/2], "outer", "x")
	f.Fuzz(func(t *testing.T, raw []byte, typ, path string) {
		types, err := btf.New(raw)
		if err != nil {
			return
		}
		types.Field(typ, path)
		types.Field("outer", "in[2].b[1][2]")
		types.Size(typ)
		types.Enum(typ, path)
	})
}
