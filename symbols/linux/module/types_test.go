package module

import (
	"strings"
	"testing"

	"physgdb/symbols"
)

func TestModuleTypes(t *testing.T) {
	const (
		head         = base + 0x180000
		first, other = head + 0x1000, head + 0x2000 // struct btf_module
		btf          = head + 0x3000
		withTypes    = 0xffffffffc0001000
		without      = 0xffffffffc0002000
		unmapped     = 0xffffc90000000000
	)
	for _, tc := range []struct {
		name      string
		next, btf uint64 // of the second node
		want      string // why the other module's types are not known
	}{
		{"a module without types", head, btf, "was built without BTF"},
		{"a list that breaks", unmapped, btf, "list of the modules' types is damaged"},
		{"types that are not there", head, unmapped, "list of the modules' types is damaged"},
	} {
		w := newTypesWorld(t, head)
		w.Put(head, first)
		w.Put(first, other, head, withTypes, btf)
		w.Put(other, tc.next, first, without+0x1000, tc.btf)
		w.Put(btf, 0x1234000, 99)
		if at, err := w.mods.typePlace(ctx, withTypes); err != nil || at != (typePlace{0x1234000, 99}) {
			t.Errorf("%s: %+v, %v", tc.name, at, err)
		}
		if at, err := w.mods.typePlace(ctx, without); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %+v, %v; want %q", tc.name, at, err, tc.want)
		}
	}
}

// newTypesWorld is a world in which the list of the modules' types begins at head.
func newTypesWorld(t *testing.T, head uint64) *world {
	w := newWorld(t, map[string]uint64{"btf_modules": head})
	w.Structs.Define("btf_module", "list", 16, "module", "btf")
	w.Structs["btf_module.list.next"] = symbols.Field{Size: 8, Elem: 8}
	w.Structs.Define("btf", "data", "data_size")
	return w
}

// The names of types are at their end: without it, the rest is of no use.
func TestModuleTypesIncomplete(t *testing.T) {
	const head, node, btf, module = base + 0x180000, base + 0x181000, base + 0x182000, 0xffffffffc0001000
	for _, tc := range []struct {
		size  uint64
		whole bool
	}{{8, true}, {16, false}, {1 << 40, false}} {
		w := newTypesWorld(t, head)
		w.Put(head, node)
		w.Put(node, head, head, module, btf)
		w.Put(btf, base+uint64(len(w.RAM))-8, tc.size)
		m := &Module{Name: "m", Addr: module, owner: w.mods}
		if b, err := m.ReadBTF(ctx); (err == nil) != tc.whole || (b.Data != nil) != tc.whole {
			t.Errorf("%d bytes: %+v, %v", tc.size, b, err)
		}
	}
}
