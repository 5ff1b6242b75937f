package elfsynth

import (
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/btf"
)

// small is a kernel of three sections with a symbol at each place that matters.
func small() *Program {
	return &Program{
		Name: "vmlinux",
		Sections: []Section{
			{Name: ".data..percpu", Addr: 0, Size: 0x1000, Write: true, PerCPU: true},
			{Name: ".text", Addr: 0xffffffff81000000, Size: 0x2000, Exec: true},
			{Name: ".data", Addr: 0xffffffff81003000, Size: 0x1000, Write: true},
		},
		Symbols: []symbols.Symbol{
			{Name: "beyond", Addr: 0xffffffff82000000},
			{Name: "_edata", Addr: 0xffffffff81004000},
			{Name: "variable", Addr: 0xffffffff81003ff0, Size: 0x1000},
			{Name: "first", Addr: 0xffffffff81000000, Func: true},
			{Name: "second", Addr: 0xffffffff81000010, Func: true, Local: true},
			{Name: "alias", Addr: 0xffffffff81000010, Func: true},
			{Name: "third", Addr: 0xffffffff81000020, Size: 0x100, Func: true},
			{Name: "fourth", Addr: 0xffffffff81000030, Func: true},
			{Name: "runqueues", Addr: 0x40},
		},
	}
}

func TestSymbolsHaveSizesAndSections(t *testing.T) {
	data, _, _ := Build(t.Context(), small())
	f, err := newELF(data)
	if err != nil {
		t.Fatal(err)
	}
	all, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]elf.Symbol{}
	globals := false
	for _, s := range all {
		got[s.Name] = s
		global := elf.ST_BIND(s.Info) == elf.STB_GLOBAL
		if globals && !global {
			t.Errorf("%s is local, after global ones", s.Name)
		}
		globals = globals || global
	}
	tests := []struct {
		name string
		size uint64
		in   elf.SectionIndex
		typ  elf.SymType
	}{
		{"runqueues", 0x1000 - 0x40, 1, elf.STT_OBJECT}, // not up to the next symbol, which is in another section
		{"first", 0x10, 2, elf.STT_FUNC},
		{"second", 0x10, 2, elf.STT_FUNC}, // up to the next address
		{"alias", 0, 2, elf.STT_FUNC},     // gdb names an address after the symbol that has a size
		{"third", 0x100, 2, elf.STT_FUNC}, // as it says
		{"fourth", 0x2000 - 0x30, 2, elf.STT_FUNC},
		{"variable", 0x10, 3, elf.STT_OBJECT}, // no further than its section
		{"_edata", 0, 3, elf.STT_OBJECT},      // at the end of a section
		{"beyond", 0, elf.SHN_ABS, elf.STT_OBJECT},
	}
	for _, want := range tests {
		s := got[want.name]
		if s.Size != want.size || s.Section != want.in || elf.ST_TYPE(s.Info) != want.typ {
			t.Errorf("%s: size %#x, section %v, %v; want %+v", want.name, s.Size, s.Section, elf.ST_TYPE(s.Info), want)
		}
	}
	if local := elf.ST_BIND(got["second"].Info) == elf.STB_LOCAL; !local || int(f.Section(".symtab").Info) != 2 {
		t.Errorf("one local symbol after the empty one, but sh_info is %d", f.Section(".symtab").Info)
	}
}

// TestPerCPUSectionIsInNoSegment: gdb moves by qOffsets what lies in a segment.
func TestPerCPUSectionIsInNoSegment(t *testing.T) {
	p := small()
	data, _, _ := Build(t.Context(), p)
	f, err := newELF(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Progs) != 2 || f.Progs[0].Vaddr != p.Sections[1].Addr || f.Progs[0].Flags != elf.PF_R|elf.PF_X ||
		f.Progs[1].Vaddr != p.Sections[2].Addr || f.Progs[1].Flags != elf.PF_R|elf.PF_W {
		t.Errorf("segments %+v", f.Progs)
	}
	if f.Entry != 0 {
		t.Errorf("entry %#x: gdb ends stacks there", f.Entry)
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	broken := small()
	broken.BTF.Data = damaged["an unknown kind"]
	tests := []struct {
		name string
		p    *Program
		want []string
	}{
		{"nothing but symbols", small(), []string{"no BTF", "no ORC"}},
		{"nothing at all", &Program{}, []string{"no BTF", "no ORC", "no symbols"}},
		{"damaged types", broken, []string{"type 2 is damaged", "no ORC"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, missing, _ := Build(t.Context(), tt.p)
			if _, err := newELF(data); err != nil {
				t.Error(err)
			}
			if len(missing) != len(tt.want) {
				t.Fatalf("missing %q, want %q", missing, tt.want)
			}
			said := errors.Join(missing...).Error()
			for _, want := range tt.want {
				if !strings.Contains(said, want) {
					t.Errorf("missing %q, want %q", missing, want)
				}
			}
		})
	}
}

// TestFunctionsHaveAPrototypeOnlyIfItIsTheirs has types for functions of which some share a name or
// an address.
func TestFunctionsHaveAPrototypeOnlyIfItIsTheirs(t *testing.T) {
	names := "\x00first\x00second\x00alias\x00third\x00fourth\x00nowhere\x00variable\x00"
	p := small()
	p.Symbols = append(p.Symbols, symbols.Symbol{Name: "fourth", Addr: 0xffffffff81000040, Func: true})
	records := [][]uint32{{0, info(btf.KindFuncProto, 0), 0}}
	for _, name := range []string{"first", "second", "alias", "third", "third", "fourth", "nowhere", "variable"} {
		records = append(records, []uint32{uint32(strings.Index(names, "\x00"+name+"\x00") + 1), info(btf.KindFunc, 1), 1})
	}
	p.BTF.Data = rawBTF(names, records...)
	data, _, _ := Build(t.Context(), p)
	f, err := newELF(data)
	if err != nil {
		t.Fatal(err)
	}
	d, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for in := d.Reader(); ; {
		e, err := in.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			break
		}
		if e.Tag == dwarf.TagSubprogram {
			got = append(got, name(e))
		}
	}
	// Of second and alias, at one address, either will do.
	if all := strings.Join(got, " "); all != "first alias" && all != "first second" {
		t.Errorf("prototypes of %q", all)
	}
}

func TestTypesInTheWordsOfC(t *testing.T) {
	tests := []struct {
		text     string
		kind     btf.Kind
		name     string
		pointers int
		lengths  []uint64
	}{
		{"struct task_struct", btf.KindStruct, "task_struct", 0, nil},
		{"struct pglist_data *[]", btf.KindStruct, "pglist_data", 1, []uint64{0}},
		{"unsigned long [4][2]", btf.KindInt, "long unsigned int", 0, []uint64{4, 2}},
		{"unsigned", btf.KindInt, "unsigned int", 0, nil},
		{"short", btf.KindInt, "short int", 0, nil},
		{"long long", btf.KindInt, "long long int", 0, nil},
		{"unsigned char **", btf.KindInt, "unsigned char", 2, nil},
		{"signed char", btf.KindInt, "signed char", 0, nil},
		{"enum system_states", btf.KindEnum, "system_states", 0, nil},
		{"union u*", btf.KindUnion, "u", 1, nil},
		{"atomic_t", btf.KindTypedef, "atomic_t", 0, nil},
		{"void *", btf.KindVoid, "void", 1, nil},
	}
	for _, tt := range tests {
		d, ok := parseType(tt.text)
		if !ok || d.kinds[0] != tt.kind || d.names[0] != tt.name || d.pointers != tt.pointers ||
			len(d.lengths) != len(tt.lengths) || (len(d.lengths) > 0 && d.lengths[0] != tt.lengths[0]) {
			t.Errorf("%q is %+v, %v; want %+v", tt.text, d, ok, tt)
		}
	}
	for _, text := range []string{"", "struct a b", "*", "[]", "int [", "int [x]", "int []*", "a b", "int [-1]"} {
		if d, ok := parseType(text); ok {
			t.Errorf("%q is %+v", text, d)
		}
	}
	for _, g := range KernelGlobals() {
		if _, ok := parseType(g.Type); !ok {
			t.Errorf("%s: %q is no type", g.Name, g.Type)
		}
	}
}

func FuzzTypeInTheWordsOfC(f *testing.F) {
	f.Add("struct pglist_data *[3][]")
	f.Fuzz(func(t *testing.T, text string) {
		p := small()
		p.BTF.Data = rawBTF("\x00int\x00", []uint32{1, info(btf.KindInt, 0), 4, 32})
		p.Globals = []Global{{"variable", text}}
		data, _, _ := Build(t.Context(), p)
		if binary.LittleEndian.Uint32(data) != binary.LittleEndian.Uint32([]byte("\x7fELF")) {
			t.Error("no ELF file")
		}
	})
}
