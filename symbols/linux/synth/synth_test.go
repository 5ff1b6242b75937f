package synth

import (
	"fmt"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/linux"
)

// TestSectionsOfGeneratedCode checks that pieces of code on neighbouring pages share a section.
func TestSectionsOfGeneratedCode(t *testing.T) {
	const base = 0xffffffffc0100000
	g := &linux.Generated{}
	for _, s := range []symbols.Symbol{
		{Name: "bpf_prog_1", Addr: base + 0x10, Size: 0x20}, {Name: "bpf_prog_2", Addr: base + 0x800, Size: 0x1000},
		{Name: "bpf_prog_3", Addr: base + 0x2000, Size: 8}, {Name: "far_away", Addr: base + 0x9ff0, Size: 0x20},
	} {
		g.All = append(g.All, &linux.GeneratedCode{Symbol: s})
	}
	p, err := Generated(t.Context(), &linux.Kernel{}, g)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range p.Sections {
		got = append(got, fmt.Sprintf("%s %#x+%#x", s.Name, s.Addr-base, s.Size))
	}
	if want := ".text.0 0x0+0x3000, .text.1 0x9000+0x2000"; strings.Join(got, ", ") != want {
		t.Errorf("sections %s, want %s", got, want)
	}
	if len(p.Symbols) != 4 || len(p.Rules) != 4 {
		t.Errorf("%d symbols, %d rules, want 4", len(p.Symbols), len(p.Rules))
	}
}
