package symbols_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"physgdb/symbols"
)

func TestTable(t *testing.T) {
	table := symbols.NewTable([]symbols.Symbol{
		{Name: "last", Addr: 0x3000},
		{Name: "text", Addr: 0x1000, Size: 0x100, Func: true},
		{Name: "__alias", Addr: 0x1000, Size: 0x100, Func: true},
		{Name: "start_of_text", Addr: 0x1000},
		{Name: "twin", Addr: 0x2000, Size: 8},
		{Name: "twin", Addr: 0x2800, Size: 8},
	}, nil)
	for _, tc := range []struct {
		addr uint64
		want string
		off  uint64
	}{
		{0x0fff, "", 0}, {0x1000, "text", 0}, {0x10ff, "text", 0xff}, {0x1100, "text", 0x100},
		{0x2004, "twin", 4}, {0x2008, "", 0}, {0x9000, "last", 0x6000},
	} {
		s, off, ok := table.At(tc.addr)
		if s.Name != tc.want || ok != (tc.want != "") || ok && off != tc.off {
			t.Errorf("At(%#x) = %s+%#x, %v; want %s+%#x", tc.addr, s.Name, off, ok, tc.want, tc.off)
		}
	}
	if s, ok := table.Lookup("twin"); !ok || s.Addr != 0x2000 {
		t.Errorf("Lookup(twin) = %+v, %v", s, ok)
	}
	if _, ok := table.Lookup("nothing"); ok {
		t.Error("a name that is not there was found")
	}
}

func TestAllSymbolsComeInTheOrderOfTheirAddresses(t *testing.T) {
	table := symbols.NewTable([]symbols.Symbol{
		{Name: "c", Addr: 0xffffffff81000000}, {Name: "a", Addr: 8}, {Name: "b", Addr: 0x10000}, {Name: "alias", Addr: 8},
	}, nil)
	var names []string
	for s := range table.All() {
		names = append(names, s.Name)
		if s.Name == "b" {
			break
		}
	}
	if got := strings.Join(names, " "); got != "a alias b" {
		t.Errorf("got %s", got)
	}
}

// TestTableOfManySymbols compares both indices with a look at every symbol.
func TestTableOfManySymbols(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var syms []symbols.Symbol
	for i := range 2000 {
		addr := []uint64{0, 0xffffffff81000000, 0xffff, 0xffff0000, ^uint64(0) - 0xffff}[rng.IntN(5)] + rng.Uint64N(0x20000)
		syms = append(syms, symbols.Symbol{Name: fmt.Sprint("s", i%1500), Addr: addr, Size: rng.Uint64N(64)})
	}
	table := symbols.NewTable(syms, nil)
	for _, s := range syms {
		lowest := s.Addr
		for _, o := range syms {
			if o.Name == s.Name {
				lowest = min(lowest, o.Addr)
			}
		}
		if got, ok := table.Lookup(s.Name); !ok || got.Addr != lowest {
			t.Fatalf("%s at %#x, %v; want %#x", s.Name, got.Addr, ok, lowest)
		}
		probe := s.Addr + rng.Uint64N(80)
		var nearest uint64
		for _, o := range syms {
			if o.Addr <= probe {
				nearest = max(nearest, o.Addr)
			}
		}
		if got, _, ok := table.At(probe); ok && got.Addr != nearest {
			t.Fatalf("%#x is in %+v; want one at %#x", probe, got, nearest)
		}
	}
	if _, ok := table.Lookup("s1500"); ok {
		t.Error("a symbol that is not there was found")
	}
}
