package module

import (
	"debug/elf"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	alloc  = elf.SHF_ALLOC
	writes = elf.SHF_ALLOC | elf.SHF_WRITE
	code   = elf.SHF_ALLOC | elf.SHF_EXECINSTR
)

// header returns the header of a section of a file.
func header(name string, typ elf.SectionType, flags elf.SectionFlag, size uint64) elf.SectionHeader {
	return elf.SectionHeader{Name: name, Type: typ, Flags: flags, Size: size}
}

// placedModule is a module with text at 0xffffffffc0100000, data at …101000, and its sections
// there.
func placedModule(sections ...Section) *Module {
	m := &Module{Name: "a", Regions: []Region{
		{Name: "text", Base: 0xffffffffc0100000, Size: 0x1000, Text: true},
		{Name: "data", Base: 0xffffffffc0101000, Size: 0x1000},
	}}
	m.sections.Set(sections)
	return m
}

func TestSectionAddresses(t *testing.T) {
	const nowhere = 1<<56 + 0x40100*(256<<20)
	placed := []Section{
		{".text", 0xffffffffc0100000}, {".init.text", 0xffffffffc0108000}, {".data", 0xffffffffc0101000},
		{".twice", 0xffffffffc0101010}, {".twice", 0xffffffffc0101020}, {".symtab", 0xffffffffc0109000},
	}
	text := header(".text", elf.SHT_PROGBITS, code, 4)
	rela := header(".rela.text", elf.SHT_RELA, 0, 1)
	init := header(".init.text", elf.SHT_PROGBITS, code, 5000)
	data := header(".data", elf.SHT_PROGBITS, writes, 4)
	twice := header(".twice", elf.SHT_PROGBITS, alloc, 1)
	info := header(".modinfo", elf.SHT_PROGBITS, alloc, 1)
	empty := header(".empty", elf.SHT_PROGBITS, writes, 0)
	nothing := header(".twice", elf.SHT_PROGBITS, alloc, 0)
	comment := header(".comment", elf.SHT_PROGBITS, 0, 1)
	for _, tc := range []struct {
		name     string
		sections []elf.SectionHeader
		want     []uint64
		err      string
	}{
		{
			"all kinds", []elf.SectionHeader{text, rela, init, info, data, nothing, twice, twice, empty, comment},
			[]uint64{0xffffffffc0100000, nowhere, nowhere + 0x2000, 0xffffffffc0101000, nowhere + 0x3000, 0xffffffffc0101010,
				0xffffffffc0101020, nowhere + 0x4000}, "",
		},
		{
			"one without an address before the last", []elf.SectionHeader{text, comment, data}, nil,
			".comment, which has no address, precedes .data",
		},
		{"code that is nowhere", []elf.SectionHeader{header(".text.other", elf.SHT_PROGBITS, code, 1)}, nil, "section .text.other"},
		{"data that are nowhere", []elf.SectionHeader{twice, twice, header(".bss", elf.SHT_NOBITS, writes, 1)}, nil, "section .bss"},
		{"per-CPU variables", []elf.SectionHeader{header(perCPUSection, elf.SHT_PROGBITS, writes, 1)}, []uint64{0x2a000}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := placedModule(placed...)
			m.PerCPU = 0x2a000
			sections, err := m.SectionAddresses(ctx, "a.ko", append([]elf.SectionHeader{{}}, tc.sections...))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			var got []uint64
			for _, s := range sections {
				got = append(got, s.Addr)
			}
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("%#x, %v; want %#x", got, err, tc.want)
			}
		})
	}
	if _, err := placedModule().SectionAddresses(ctx, "a.ko", nil); err == nil || !strings.Contains(err.Error(), "are not known") {
		t.Errorf("without sections: %v", err)
	}
}

func TestAddSymbolFile(t *testing.T) {
	m := placedModule(Section{".text", 0xffffffffc0100000}, Section{".init.text", 0xffffffffc0108000},
		Section{".symtab", 0xffffffffc0109000}, Section{".bss", 0xffffffffc0101800})
	m.PerCPU = 0x2a000
	got, err := m.AddSymbolFile(ctx)
	want := "add-symbol-file a.ko -s .text 0xffffffffc0100000 -s .init.text 0x100401000000000 -s .bss 0xffffffffc0101800" +
		" -s .modinfo 0x100401000101000 -s __versions 0x100401000202000 -s .data..percpu 0x2a000"
	if err != nil || got != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	odd := placedModule(Section{".text", 0xffffffffc0100000}, Section{"-o", 1}, Section{"$(x)", 2},
		Section{".a\x1b", 3}, Section{".a'b", 4})
	odd.Name = "$(reboot)/../x"
	got, err = odd.AddSymbolFile(ctx)
	if err != nil || !regexp.MustCompile(`^add-symbol-file [\w.~+-]+\.ko( -s [\w.]+ 0x[0-9a-f]+){3}$`).MatchString(got) {
		t.Errorf("names that are no words of a command: %s, %v", got, err)
	}
	if got, err := placedModule().AddSymbolFile(ctx); err == nil {
		t.Errorf("without sections: %s", got)
	}
}
