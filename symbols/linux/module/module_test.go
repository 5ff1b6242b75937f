package module

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"physgdb/symbols/linux"

	"physgdb/symbols/linux/kmem"

	"physgdb/bridge"
	"physgdb/symbols"
	"physgdb/symbols/orc"
)

// moduleWorld is a kernel with modules.
type moduleWorld struct {
	*world
	head  uint64
	addrs map[string]uint64 // of the struct module of each
}

// newModuleWorld makes a kernel whose modules have their memory as it is from 6.4 on, or before.
func newModuleWorld(t *testing.T, before6_4 bool) *moduleWorld {
	const head = base + 1<<20
	w := &moduleWorld{newWorld(t, map[string]uint64{"modules": head}), head, map[string]uint64{}}
	members := []any{"state", 4, "list.next", "list.prev", "name", 56, "taints", "init", "exit", "refcnt", 4,
		"source_list.next", "source_list.prev", "percpu", "kallsyms", "sect_attrs", "arch.num_orcs", 4,
		"arch.orc_unwind_ip", "arch.orc_unwind"}
	if before6_4 {
		for _, layout := range []string{"core_layout", "init_layout"} {
			members = append(members, layout+".base", layout+".size", 4, layout+".text_size", 4)
		}
	} else {
		members = append(members, "mem", 3*16)
	}
	w.Structs.Define("module", members...)
	if !before6_4 {
		mem := w.Structs["module.mem"]
		mem.Elem = 16
		w.Structs["module.mem"] = mem
		w.Structs.Define("module_memory", "base", "size", 4)
		w.Structs["mod_mem_type"] = symbols.Field{}
		for name, i := range map[string]uint64{"MOD_DATA": 0, "MOD_TEXT": 1, "MOD_INIT_TEXT": 2, "MOD_RODATA": 3, "MOD_INIT_DATA": 1 << 60} {
			w.Structs["mod_mem_type."+name] = symbols.Field{Offset: i} // the last two are not in the array
		}
	}
	w.Structs.Define("list_head", "next", "prev")
	w.Structs.Define("module_use", "source_list.next", "source_list.prev", "target_list.next", "target_list.prev", "source",
		"target")
	w.Structs.Define("mod_kallsyms", "symtab", "num_symtab", 4, "strtab", "typetab")
	w.Structs.Define("module_sect_attrs", "grp.name", "grp.bin_attrs")
	w.Structs.Define("bin_attribute", "attr.name", "attr.mode", "size", "private")
	w.Structs.Define("module_sect_attr", "address", "battr.attr.name", "battr.attr.mode", "battr.size", "battr.private")
	w.Structs["module_sect_attr.battr"] = symbols.Field{Offset: 8, Size: 32}
	w.Put(head, head, head)
	return w
}

// node is where a module has its place in the list.
func (w *moduleWorld) node(name string) uint64 {
	return w.addrs[name] + w.Structs["module.list.next"].Offset
}

func (w *moduleWorld) setModule(name, member string, v uint64) {
	w.Set(w.addrs[name], "module", member, v)
}

// load adds a module in front, as list_add() does.
func (w *moduleWorld) load(name string) uint64 {
	m := w.Alloc("module", 0)
	w.addrs[name] = m
	copy(w.RAM[m-base+w.Structs["module.name"].Offset:], name)
	node, first := w.node(name), w.Word(w.head)
	w.Put(node, first, w.head)
	w.Put(first+8, node)
	w.Put(w.head, node)
	w.setModule(name, "refcnt", 1)
	w.setModule(name, "init", 1)
	w.setModule(name, "exit", 1)
	users := m + w.Structs["module.source_list.next"].Offset
	w.Put(users, users, users)
	return m
}

// use says that a module uses another.
func (w *moduleWorld) use(user, used string) uint64 {
	u := w.Alloc("module_use", 0)
	head := w.addrs[used] + w.Structs["module.source_list.next"].Offset
	last := w.Word(head + 8)
	w.Put(u, head, last)
	w.Put(last, u)
	w.Put(head+8, u)
	w.Set(u, "module_use", "source", w.addrs[user])
	w.Set(u, "module_use", "target", w.addrs[used])
	w.setModule(used, "refcnt", w.Word(w.addrs[used]+w.Structs["module.refcnt"].Offset)+1)
	return u
}

// memory gives a module memory: text followed by data.
func (w *moduleWorld) memory(name string, text, data uint64) (base uint64) {
	base = (w.Next + 4095) &^ 4095
	w.Next = base + text + data
	if _, ok := w.Structs["module.mem"]; ok {
		mem := w.addrs[name] + w.Structs["module.mem"].Offset
		w.Put(mem, base+text, data, base, text)
		return base
	}
	w.setModule(name, "core_layout.base", base)
	w.setModule(name, "core_layout.size", text+data)
	w.setModule(name, "core_layout.text_size", text)
	return base
}

func names(l *List) string {
	var all []string
	for _, m := range l.All {
		all = append(all, m.Name)
	}
	return strings.Join(all, " ")
}

func TestModules(t *testing.T) {
	for _, before6_4 := range []bool{false, true} {
		w := newModuleWorld(t, before6_4)
		for _, name := range []string{"failover", "net_failover", "virtio_net"} {
			w.load(name)
		}
		text := w.memory("virtio_net", 0x3000, 0x2000)
		w.memory("failover", 0x1000, 0)
		w.use("net_failover", "failover")
		w.use("virtio_net", "failover")
		w.setModule("failover", "taints", 1<<12|1<<13)
		w.setModule("net_failover", "state", 1)
		w.setModule("net_failover", "exit", 0)
		w.setModule("virtio_net", "percpu", 0x1234)
		ms, err := Read(ctx, w.Kernel)
		if err != nil || len(ms.Damage) != 0 || names(ms) != "virtio_net net_failover failover" {
			t.Fatalf("modules %s, damage %v, %v", names(ms), ms.Damage, err)
		}
		net, middle, last := ms.All[0], ms.All[1], ms.All[2]
		if net.Base() != text || net.Size() != 0x5000 || net.PerCPU != 0x1234 || net.Addr != w.addrs["virtio_net"] {
			t.Errorf("virtio_net %+v", net)
		}
		want := []Region{
			{Name: "text", Base: text, Size: 0x3000, Text: true}, {Name: "data", Base: text + 0x3000, Size: 0x2000},
		}
		if !slices.Equal(net.Regions, want) {
			t.Errorf("before 6.4 %v: regions %+v", before6_4, net.Regions)
		}
		if middle.State != Coming || !middle.Permanent || net.Permanent || middle.State.String() != "Loading" {
			t.Errorf("net_failover is %v, permanent %v", middle.State, middle.Permanent)
		}
		if last.Refs != 2 || strings.Join(last.UsedBy, ",") != "net_failover,virtio_net" || last.Taint != 1<<12|1<<13 {
			t.Errorf("failover %+v", last)
		}
		for addr, m := range map[uint64]*Module{
			text - 1: nil, text: net, text + 0x4fff: net, text + 0x5000: last, text + 0x6000: nil,
		} {
			if got := ms.At(addr); got != m {
				t.Errorf("at %#x: %v", addr, got)
			}
		}
		if ms.Named("virtio-net") != net || ms.Named("virtio") != nil {
			t.Error("modules by name")
		}
	}
}

func TestModuleListRoundTrips(t *testing.T) {
	w := newModuleWorld(t, false)
	for i := range 21 {
		w.load(fmt.Sprintf("m%d", i))
	}
	if _, err := kmem.ReadUint(ctx, w.Space, w.head, 8); err != nil { // reads the page tables
		t.Fatal(err)
	}
	before := w.Fake.Counts().Batches
	ms, err := Read(ctx, w.Kernel)
	if err != nil || len(ms.All) != 21 || len(ms.Damage) != 0 {
		t.Fatalf("%d modules, %v, %v", len(ms.All), ms.Damage, err)
	}
	if n := w.Fake.Counts().Batches - before; n != 1+11 {
		t.Errorf("%d batches", n)
	}
}

func TestDamagedModuleList(t *testing.T) {
	const all = "e d c b a"
	for _, tc := range []struct {
		name   string
		harm   func(w *moduleWorld)
		found  string
		damage string
	}{
		{"none", func(w *moduleWorld) {}, all, ""},
		{"a circle", func(w *moduleWorld) { w.Put(w.node("d"), w.node("e")) }, all, "in a circle at module e"},
		{"a pointer nowhere", func(w *moduleWorld) { w.Put(w.node("d"), 0x1000) }, all, "breaks after module d"},
		{"a pointer to NULL", func(w *moduleWorld) { w.Put(w.node("d"), 0) }, all, "breaks after module d"},
		{"a pointer to what is no module", func(w *moduleWorld) { w.Put(w.node("d"), base+4096) }, all, "no module there"},
		{"torn on both sides", func(w *moduleWorld) {
			w.Put(w.node("d"), 0xdead<<48)
			w.Put(w.node("b")+8, 0xbeef<<48)
		}, "e d b a", "breaks after module b"},
		{"a module lost", func(w *moduleWorld) {
			w.Fake.Fail(bridge.PhysAddr(w.node("c")-base), 1, bridge.ErrRefused)
		}, "e d b a", "refused"},
		{"a name lost", func(w *moduleWorld) { w.RAM[w.node("c")+16-base] = 7 }, "e d b a", `name "\a"`},
		{"a state lost", func(w *moduleWorld) { w.setModule("c", "state", 4) }, "e d b a", "state 4"},
		{"the head torn forward", func(w *moduleWorld) { w.Put(w.head, 8) }, all, "breaks after its head"},
		{"the head torn backward", func(w *moduleWorld) { w.Put(w.head+8, 8) }, all, "breaks after its head"},
		{"one half removed", func(w *moduleWorld) { w.Put(w.node("c")+8, w.node("e")) }, all, "from there not back"},
		{"one half loaded", func(w *moduleWorld) { w.Put(w.node("d")+8, w.head) }, all, "module d, and from there not back"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newModuleWorld(t, false)
			for _, name := range []string{"a", "b", "c", "d", "e"} {
				w.load(name)
			}
			tc.harm(w)
			ms, err := Read(ctx, w.Kernel)
			if err != nil {
				t.Fatal(err)
			}
			if reported := fmt.Sprint(ms.Damage); names(ms) != tc.found || !strings.Contains(reported, tc.damage) ||
				(tc.damage == "") != (len(ms.Damage) == 0) {
				t.Errorf("found %q, want %q; damage %s, want %q", names(ms), tc.found, reported, tc.damage)
			}
		})
	}
}

func TestModuleListUnreadable(t *testing.T) {
	w := newModuleWorld(t, false)
	w.load("a")
	w.Fake.Fail(bridge.PhysAddr(w.head-base), 8, bridge.ErrRefused)
	if ms, err := Read(ctx, w.Kernel); !errors.Is(err, bridge.ErrRefused) {
		t.Errorf("%+v, %v", ms, err)
	}
	w = newModuleWorld(t, false)
	w.Structs["module_memory.base"] = symbols.Field{Offset: 1 << 40, Size: 8}
	if ms, err := Read(ctx, w.Kernel); err == nil || !strings.Contains(err.Error(), "struct module_memory is damaged") {
		t.Errorf("%+v, %v", ms, err)
	}
	empty := newWorld(t, nil)
	empty.Structs.Define("module", "state", "list.next", "list.prev", "name", "taints", "init")
	if ms, err := Read(ctx, empty.Kernel); err == nil || !strings.Contains(err.Error(), "no symbol modules") {
		t.Errorf("%+v, %v", ms, err)
	}
}

func TestDamagedModules(t *testing.T) {
	for _, tc := range []struct {
		name      string
		before6_4 bool
		harm      func(w *moduleWorld)
		damage    string
	}{
		{"more text than memory", true, func(w *moduleWorld) {
			w.setModule("a", "core_layout.text_size", 0x9000)
		}, "36864 bytes of text"},
		{"user memory", true, func(w *moduleWorld) { w.setModule("a", "core_layout.base", 0x400000) }, "text at 0x400000"},
		{"no address", false, func(w *moduleWorld) {
			w.Put(w.addrs["a"]+w.Structs["module.mem"].Offset+16, 0xff00_0000_0000_0000)
		}, "text at 0xff00000000000000"},
		{"monstrous memory", false, func(w *moduleWorld) {
			w.Put(w.addrs["a"]+w.Structs["module.mem"].Offset+24, 0xffff_ffff)
		}, "4294967295 bytes"},
		{"used by an unknown module", false, func(w *moduleWorld) { w.Set(w.use("b", "a"), "module_use", "source", 5) }, "list is damaged"},
		{"users nowhere", false, func(w *moduleWorld) { w.setModule("a", "source_list.next", 5) }, "struct module_use at 0x5"},
		{"users in a circle", false, func(w *moduleWorld) {
			first, second := w.use("b", "a"), w.use("b", "a")
			w.Put(second, first)
		}, "list is damaged"},
		{"users without end", false, func(w *moduleWorld) {
			for range 5 {
				w.use("b", "a")
			}
		}, "no end"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newModuleWorld(t, tc.before6_4)
			w.load("a")
			w.load("b")
			w.memory("a", 0x1000, 0x1000)
			tc.harm(w)
			ms, err := Read(ctx, w.Kernel)
			if err != nil || names(ms) != "b a" ||
				!strings.Contains(fmt.Sprint(ms.Damage), tc.damage) || len(ms.Damage) == 0 {
				t.Errorf("%s; damage %v, want %q; %v", names(ms), ms.Damage, tc.damage, err)
			}
		})
	}
}

// symtab adds a table of symbols to the data of module a, and returns its memory: 4 KiB of text, 4
// KiB of data.
func (w *moduleWorld) symtab(types string, syms ...symbols.Symbol) (text uint64) {
	text = w.memory("a", 0x1000, 0x1000)
	table, strings := make([]byte, 24), []byte{0}
	for _, s := range syms {
		table = binary.LittleEndian.AppendUint32(table, uint32(len(strings)))
		info := byte(1) // STT_OBJECT
		if s.Func {
			info = 2
		}
		table = append(table, info, 0, 1, 0)
		table = binary.LittleEndian.AppendUint64(table, text+s.Addr)
		table = binary.LittleEndian.AppendUint64(table, s.Size)
		strings = append(append(strings, s.Name...), 0)
	}
	data := text + 0x1000
	copy(w.RAM[data-base:], table)
	copy(w.RAM[data-base+0x800:], strings)
	copy(w.RAM[data-base+0xc00:], types)
	k := w.Alloc("mod_kallsyms", 0)
	w.setModule("a", "kallsyms", k)
	w.Set(k, "mod_kallsyms", "symtab", data)
	w.Set(k, "mod_kallsyms", "num_symtab", uint64(len(syms)+1))
	w.Set(k, "mod_kallsyms", "strtab", data+0x800)
	if types != "" {
		w.Set(k, "mod_kallsyms", "typetab", data+0xc00)
	}
	return text
}

func TestModuleSymbols(t *testing.T) {
	w := newModuleWorld(t, false)
	w.load("a")
	syms := []symbols.Symbol{
		{Name: "second", Addr: 0x40, Size: 0x11}, {Name: ".Lmark", Addr: 0x48}, {Name: "first", Addr: 0x10, Size: 8},
		{Name: "alias", Addr: 0x10}, {Name: "datum", Addr: 0x1100, Size: 4}, {Name: "last.cold", Addr: 0xf00},
		{Name: "outside", Addr: 0x4000},
	}
	for i := range 30 {
		syms = append(syms, symbols.Symbol{Name: fmt.Sprintf("alias%d", i), Addr: 0x10})
	}
	text := w.symtab("?ttttdTw", syms...)
	for addr, want := range map[uint64]string{
		0x0f: "", 0x10: "first+0x0/0x30 [a]", 0x3f: "first+0x2f/0x30 [a]", 0x40: "second+0x0/0xec0 [a]",
		0x4a: "second+0xa/0xec0 [a]", 0xf00: "last.cold+0x0/0x100 [a]", 0xfff: "last.cold+0xff/0x100 [a]", 0x1000: "",
		0x1100: "datum+0x0/0xf00 [a]", 0x2000: "", 0x4000: "",
	} {
		if got := w.NameAt(ctx, text+addr); got != want {
			t.Errorf("at %#x: %q, want %q", addr, got, want)
		}
	}
	if p, err := w.SymbolizeReturn(ctx, text+0x40); err != nil || p.String() != "first+0x30/0x30 [a]" {
		t.Errorf("returning to 0x40: %v, %v", p, err)
	}
	for _, want := range []symbols.Symbol{
		{Name: "second", Addr: text + 0x40, Size: 0x11, Func: true, Local: true},
		{Name: "alias", Addr: text + 0x10, Func: true, Local: true},
		{Name: "datum", Addr: text + 0x1100, Size: 4, Local: true},
		{Name: "outside", Addr: text + 0x4000, Func: true, Local: true},
	} {
		if got := w.symbolOf(t, "a", want.Name); got != want {
			t.Errorf("%s: %+v", want.Name, got)
		}
	}
	for _, addr := range []uint64{text, base} {
		if p, err := w.Symbolize(ctx, addr); !errors.Is(err, linux.ErrNoSymbol) {
			t.Errorf("at %#x: %v, %v", addr, p, err)
		}
	}
}

// symbolOf returns the symbol of a module that has this name.
func (w *moduleWorld) symbolOf(t *testing.T, module, name string) symbols.Symbol {
	t.Helper()
	ms, err := Read(ctx, w.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	known, err := ms.Named(module).Symbols(ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(known.All, func(s symbols.Symbol) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("module %s has no symbol %s", module, name)
	}
	return known.All[i]
}

func TestModuleSymbolsBefore5_2(t *testing.T) {
	w := newModuleWorld(t, true)
	w.load("a")
	w.symtab("", symbols.Symbol{Name: "code", Addr: 0x40, Func: true}, symbols.Symbol{Name: "datum", Addr: 0x1100})
	if code, datum := w.symbolOf(t, "a", "code"), w.symbolOf(t, "a", "datum"); !code.Func || datum.Func {
		t.Errorf("%+v; %+v", code, datum)
	}
}

func TestDamagedModuleSymbols(t *testing.T) {
	for _, tc := range []struct {
		name   string
		harm   func(w *moduleWorld, kallsyms, data uint64)
		err    string // of the table
		damage string // of one symbol
		left   int
	}{
		{"no table", func(w *moduleWorld, k, data uint64) { w.setModule("a", "kallsyms", 0) }, "keeps none", "", 0},
		{"a table nowhere", func(w *moduleWorld, k, data uint64) { w.setModule("a", "kallsyms", 8) }, "at 0x8", "", 0},
		{"symbols elsewhere", func(w *moduleWorld, k, data uint64) {
			w.Set(k, "mod_kallsyms", "symtab", base)
		}, "do not lie in its memory", "", 0},
		{"too many", func(w *moduleWorld, k, data uint64) {
			w.Set(k, "mod_kallsyms", "num_symtab", 0x7fffffff)
		}, "2147483647 entries", "", 0},
		{"names elsewhere", func(w *moduleWorld, k, data uint64) {
			w.Set(k, "mod_kallsyms", "strtab", 0)
		}, "names at 0x0", "", 0},
		{"a name outside", func(w *moduleWorld, k, data uint64) {
			w.Put(data+24, 1<<48|0xffff_0000)
		}, "", "symbol 1: its name is missing", 1},
		{"a name of garbage", func(w *moduleWorld, k, data uint64) {
			w.RAM[data+0x802-base] = 7
		}, "", "symbol 1: its name is damaged", 1},
		{"not defined", func(w *moduleWorld, k, data uint64) { w.Put(data+24, 1) }, "", "", 1},
		{"cut off", func(w *moduleWorld, k, data uint64) {
			w.Fake.Fail(bridge.PhysAddr(data+72-base), 1, bridge.ErrRefused)
		}, "", "refused", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newModuleWorld(t, false)
			w.load("a")
			text := w.symtab("?tt", symbols.Symbol{Name: "one", Addr: 0x40}, symbols.Symbol{Name: "two", Addr: 0x50})
			if tc.name == "cut off" { // the table goes over the end of a page that can be read
				w.Set(w.Word(w.addrs["a"]+w.Structs["module.kallsyms"].Offset), "mod_kallsyms", "num_symtab", 4)
			}
			tc.harm(w, w.Word(w.addrs["a"]+w.Structs["module.kallsyms"].Offset), text+0x1000)
			ms, err := Read(ctx, w.Kernel)
			if err != nil {
				t.Fatal(err)
			}
			s, err := ms.All[0].Symbols(ctx)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil || !strings.Contains(fmt.Sprint(s.Damage), tc.damage) || (tc.damage == "") != (len(s.Damage) == 0) {
				t.Fatalf("damage %v, want %q; %v", s.Damage, tc.damage, err)
			}
			if tc.name != "cut off" && len(s.All) != tc.left {
				t.Errorf("%d symbols, want %d", len(s.All), tc.left)
			}
		})
	}
}

// sections gives module a the sections that sysfs shows. From 6.14 on the kernel keeps them in
// another form.
func (w *moduleWorld) sections(from6_14 bool, sections ...Section) {
	typ, prefix, address := "module_sect_attr", "battr.", "address"
	file := w.Structs["module_sect_attr.battr"].Offset
	if from6_14 {
		file = 0
		typ, prefix, address = "bin_attribute", "", "private"
		delete(w.Structs, "module_sect_attr")
		delete(w.Structs, "module_sect_attr.battr")
	}
	attrs := w.Alloc("module_sect_attrs", 0)
	files := w.Alloc("", uint64(8*len(sections)+8))
	w.setModule("a", "sect_attrs", attrs)
	w.Set(attrs, "module_sect_attrs", "grp.bin_attrs", files)
	for i, s := range sections {
		attr, name := w.Alloc(typ, 0), w.Alloc("", uint64(len(s.Name)+1))
		copy(w.RAM[name-base:], s.Name+"\x00")
		w.Set(attr, typ, prefix+"attr.name", name)
		w.Set(attr, typ, address, s.Addr)
		w.Put(files+uint64(8*i), attr+file)
	}
}

func TestModuleSections(t *testing.T) {
	for _, from6_14 := range []bool{false, true} {
		w := newModuleWorld(t, false)
		w.load("a")
		var want []Section
		for i := range 100 { // more than are read at once
			want = append(want, Section{fmt.Sprintf(".section.%d", i), uint64(i) << 12})
		}
		w.sections(from6_14, want...)
		ms, err := Read(ctx, w.Kernel)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ms.All[0].Sections(ctx); err != nil || !slices.Equal(got, want) {
			t.Errorf("from 6.14 %v: %v, %v", from6_14, got, err)
		}
	}
}

func TestModuleSectionsUnknown(t *testing.T) {
	for _, tc := range []struct {
		name string
		harm func(w *moduleWorld)
		err  string
	}{
		{"the kernel does not keep them", func(w *moduleWorld) { w.setModule("a", "sect_attrs", 0) }, ""},
		{"the types are private", func(w *moduleWorld) { delete(w.Structs, "module_sect_attrs") }, ""},
		{"nowhere", func(w *moduleWorld) { w.setModule("a", "sect_attrs", 8) }, "at 0x8"},
		{"a file nowhere", func(w *moduleWorld) { w.Put(w.Word(w.attrs()+8), 0x1000) }, "struct module_sect_attr"},
		{"a name nowhere", func(w *moduleWorld) { w.Put(w.Word(w.Word(w.attrs()+8)), 0x1000) }, "name of number 0"},
		{"a name without end", func(w *moduleWorld) {
			copy(w.RAM[w.Word(w.Word(w.attrs()+8))-base:], strings.Repeat("n", maxSectionName))
		}, "name of number 0"},
		{"an empty name", func(w *moduleWorld) { w.RAM[w.Word(w.Word(w.attrs()+8))-base] = 0 }, "name of number 0"},
		{"no end", func(w *moduleWorld) {
			w.Put(w.attrs()+8, base+4<<20-64)
			w.Put(base+4<<20-64, 1, 1, 1, 1, 1, 1, 1, 1)
		}, "0xffff888000400000"},
	} {
		w := newModuleWorld(t, false)
		w.load("a")
		w.sections(false, Section{".text", 1})
		tc.harm(w)
		ms, err := Read(ctx, w.Kernel)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ms.All[0].Sections(ctx)
		if len(got) != 0 || tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%s: %v, %v, want %q", tc.name, got, err, tc.err)
		}
	}
}

// attrs is where module a has its struct module_sect_attrs.
func (w *moduleWorld) attrs() uint64 {
	return w.Word(w.addrs["a"] + w.Structs["module.sect_attrs"].Offset)
}

// testNote is an ELF note with a build-id of four bytes.
const testNote = "\x04\x00\x00\x00\x04\x00\x00\x00\x03\x00\x00\x00GNU\x00\xca\xfe\xba\xbe"

func TestModuleBuildID(t *testing.T) {
	w := newModuleWorld(t, false)
	w.load("a")
	at := w.Alloc("", uint64(len(testNote)))
	copy(w.RAM[at-base:], testNote)
	w.sections(false, Section{".text", 1}, Section{".note.lost", 8}, Section{".note.gnu.build-id", at})
	ms, err := Read(ctx, w.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := ms.All[0].BuildID(ctx); string(id) != "\xca\xfe\xba\xbe" || err != nil {
		t.Errorf("in a note: %x, %v", id, err)
	}

	w = newModuleWorld(t, false)
	w.Structs["module.build_id"] = symbols.Field{Offset: w.Structs["module"].Size, Size: 20, Elem: 1}
	w.Structs["module"] = symbols.Field{Size: w.Structs["module"].Size + 20}
	w.load("a")
	copy(w.RAM[w.addrs["a"]-base+w.Structs["module.build_id"].Offset:], "12345678901234567890")
	if ms, err = Read(ctx, w.Kernel); err != nil {
		t.Fatal(err)
	}
	if id, err := ms.All[0].BuildID(ctx); string(id) != "12345678901234567890" || err != nil {
		t.Errorf("in the module: %x, %v", id, err)
	}
}

func TestModuleUnwinder(t *testing.T) {
	for _, tc := range []struct {
		name string
		harm func(w *moduleWorld)
		err  string
	}{
		{"in order", func(w *moduleWorld) {}, ""},
		{"none", func(w *moduleWorld) { w.setModule("a", "arch.num_orcs", 0) }, "no ORC table"},
		{"monstrous", func(w *moduleWorld) { w.setModule("a", "arch.num_orcs", 1<<31) }, "2147483648 entries"},
		{"elsewhere", func(w *moduleWorld) { w.setModule("a", "arch.orc_unwind", base) }, "do not lie in its memory"},
		{"lost", func(w *moduleWorld) {
			ips := w.Word(w.addrs["a"] + w.Structs["module.arch.orc_unwind_ip"].Offset)
			w.Fake.Fail(bridge.PhysAddr(ips-base), 4, bridge.ErrRefused)
		}, "refused"},
	} {
		w := newModuleWorld(t, false)
		w.load("a")
		text := w.memory("a", 0x1000, 0x1000)
		ips, entries := text+0x1000, text+0x1100
		// From text+0x20 on the CFA is RSP+8 (sp_offset 8, base 5, a call), and from text+0x30 on
		// it is not known.
		w.Put(ips, (text+0x20-ips)&0xffff_ffff|(text+0x30-ips-4)<<32)
		w.Put(entries, 8|0x205<<32, 0)
		w.setModule("a", "arch.num_orcs", 2)
		w.setModule("a", "arch.orc_unwind_ip", ips)
		w.setModule("a", "arch.orc_unwind", entries)
		tc.harm(w)
		ms, err := Read(ctx, w.Kernel)
		if err != nil {
			t.Fatal(err)
		}
		orc, err := ms.All[0].Unwinder(ctx, orc.Linux6_4)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: error %v, want %q", tc.name, err, tc.err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if rule, ok := orc.At(text + 0x20); !ok || rule.Base != symbols.RSP || rule.Offset != 8 {
			t.Errorf("rule %+v, %v", rule, ok)
		}
	}
}

// FuzzModuleSymbols takes its input as the tables of a module: symbols, then names and letters.
func FuzzModuleSymbols(f *testing.F) {
	f.Add(make([]byte, 48), []byte("\x00one\x00"), []byte("?t"))
	one := "\x01\x00\x00\x00\x02\x00\x01\x00\x40\x10" + strings.Repeat("\x00", 14)
	f.Add(append(make([]byte, 24), one...), []byte("\x00one\x00"), []byte{})
	f.Fuzz(func(t *testing.T, symtab, strtab, types []byte) {
		regions := []Region{{Base: 0x1000, Size: 0x1000}, {Base: 0x1800, Size: 1 << 40}}
		s, err := newSymbols(t.Context(), regions, &kallsymsTables{symtab: symtab, strtab: strtab, types: types})
		if err != nil {
			t.Fatal(err)
		}
		if len(s.All) > len(symtab)/24 || len(s.Damage) > kmem.MaxDamage+1 {
			t.Errorf("%d symbols, %d pieces of damage in %d bytes", len(s.All), len(s.Damage), len(symtab))
		}
		for _, sym := range s.All {
			if sym.Name == "" || !symbols.Printable([]byte(sym.Name)) {
				t.Errorf("a symbol is named %q", sym.Name)
			}
			if got, off, ok := s.At(sym.Addr); ok && (got.Addr+off != sym.Addr || off >= got.Size) {
				t.Errorf("at %#x: %+v + %d", sym.Addr, got, off)
			}
		}
	})
}
