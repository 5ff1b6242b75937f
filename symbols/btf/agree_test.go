package btf_test

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"strings"
	"testing"

	cilium "github.com/cilium/ebpf/btf"

	"physgdb/symbols/btf"
	"physgdb/symbols/internal/symtest"
	"physgdb/test/guest"
)

// onKernels runs a test on the vmlinux of each of two kernels.
func onKernels(t *testing.T, test func(t *testing.T, vmlinux string)) {
	for _, series := range []string{"6.1", "6.12"} {
		k, err := guest.Prepare(t.Context(), series, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(series, func(t *testing.T) { test(t, k.Vmlinux) })
	}
}

// TestTypesAgreeWithCilium compares what this package and cilium/ebpf read from the BTF of real
// kernels.
func TestTypesAgreeWithCilium(t *testing.T) {
	onKernels(t, func(t *testing.T, vmlinux string) {
		raw, err := symtest.Read(vmlinux, btf.Section)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := btf.New(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := ours.Damage(); err != nil {
			t.Errorf("a real kernel's types: %v", err)
		}
		spec, err := cilium.LoadSpecFromReader(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		id := uint32(0)
		for typ, err := range spec.All() {
			if err != nil {
				t.Fatal(err)
			}
			if id = must(t, spec, typ); id != 0 {
				agree(t, ours, id, typ)
			}
		}
		if id+1 != ours.Count() {
			t.Errorf("%d types, the other reader has %d", ours.Count()-1, id)
		}
	})
}

// TestTypesOfModulesAgreeWithCilium does the same for modules.
func TestTypesOfModulesAgreeWithCilium(t *testing.T) {
	onKernels(t, func(t *testing.T, vmlinux string) {
		modules, _ := filepath.Glob(filepath.Join(filepath.Dir(vmlinux), "drivers", "*.ko"))
		for _, module := range modules {
			t.Run(filepath.Base(module), func(t *testing.T) { testModule(t, vmlinux, module) })
		}
	})
}

func testModule(t *testing.T, vmlinux, module string) {
	kernel, err := symtest.Read(vmlinux, btf.Section)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := symtest.Read(module, btf.Section)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := btf.NewSplit(kernel, raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := ours.Damage(); err != nil {
		t.Error(err)
	}
	base, err := cilium.LoadSpecFromReader(bytes.NewReader(kernel))
	if err != nil {
		t.Fatal(err)
	}
	spec, err := cilium.LoadSplitSpecFromReader(bytes.NewReader(raw), base)
	if err != nil {
		t.Fatal(err)
	}
	n := ours.First()
	for typ, err := range spec.All() {
		if err != nil {
			t.Fatal(err)
		}
		agree(t, ours, must(t, spec, typ), typ)
		n++
	}
	if n != ours.Count() {
		t.Errorf("types up to %d, the other reader has them up to %d", ours.Count(), n)
	}
}

func must(t *testing.T, spec *cilium.Spec, typ cilium.Type) uint32 {
	t.Helper()
	id, err := spec.TypeID(typ)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(id)
}

func agree(t *testing.T, ours *btf.Types, id uint32, typ cilium.Type) {
	t.Helper()
	r := ours.Record(id)
	_, isTag := typ.(*cilium.TypeTag) // whose name cilium does not return as such
	if got := string(ours.Name(r.Name)); got != typ.TypeName() && !isTag {
		t.Errorf("type %d is called %q, want %q", id, got, typ.TypeName())
	}
	var members []cilium.Member
	switch typ := typ.(type) {
	case *cilium.Struct:
		members = typ.Members
	case *cilium.Union:
		members = typ.Members
	case *cilium.Func, *cilium.FuncProto, *cilium.TypeTag, *cilium.Var, *cilium.Datasec, *cilium.Fwd, *cilium.Void:
		return
	}
	if size, err := cilium.Sizeof(typ); err == nil && uint64(size) != ours.SizeOf(id) {
		t.Errorf("%v has %d bytes, want %d", typ, ours.SizeOf(id), size)
	}
	for i, want := range members {
		got := ours.Member(id, r, i)
		if string(ours.Name(got.Name)) != want.Name || got.Bit != uint64(want.Offset) || got.Width != uint32(want.BitfieldSize) {
			t.Errorf("%v: member %d is %+v, want %+v", typ, i, got, want)
		}
	}
}

// TestNameLength checks that a name may have 511 bytes, and that longer ones and those without an
// end are left out.
func TestNameLength(t *testing.T) {
	for _, tc := range []struct{ name, strings, want string }{
		{"usual", "\x00int\x00", "int"},
		{"longest", "\x00" + strings.Repeat("n", 511) + "\x00", strings.Repeat("n", 511)},
		{"too long", "\x00" + strings.Repeat("n", 512) + "\x00", ""},
		{"no end", "\x00" + strings.Repeat("n", 100), ""},
	} {
		raw := []byte{0x9f, 0xeb, 1, 0}
		// The header, and struct btf_type of an integer of 4 bytes.
		for _, v := range []uint32{24, 0, 16, 16, uint32(len(tc.strings)), 1, uint32(btf.KindInt) << 24, 4, 32} {
			raw = binary.LittleEndian.AppendUint32(raw, v)
		}
		types, err := btf.New(append(raw, tc.strings...))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(types.Name(types.Record(1).Name)); got != tc.want {
			t.Errorf("%s: %d bytes, want %d", tc.name, len(got), len(tc.want))
		}
	}
}
