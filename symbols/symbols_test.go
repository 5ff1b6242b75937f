package symbols_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
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

func TestBuildID(t *testing.T) {
	const gnu = "\x04\x00\x00\x00\x04\x00\x00\x00\x03\x00\x00\x00GNU\x00\xde\xad\xbe\xef"
	const other = "\x06\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00Linux\x00\x00\x00\x01\x00\x00\x00"
	for _, tc := range []struct{ name, notes, want string }{
		{"alone", gnu, "\xde\xad\xbe\xef"},
		{"behind another", other + gnu, "\xde\xad\xbe\xef"},
		{"missing", other, ""},
		{"nothing", "", ""},
		{"cut off", gnu[:len(gnu)-1], ""},
		{"a length beyond all", "\xff\xff\xff\xff\xff\xff\xff\xff\x03\x00\x00\x00GNU\x00", ""},
	} {
		if got := symbols.BuildID([]byte(tc.notes)); string(got) != tc.want {
			t.Errorf("%s: %x, want %x", tc.name, got, tc.want)
		}
	}
}

func FuzzBuildID(f *testing.F) {
	f.Add([]byte("\x04\x00\x00\x00\x04\x00\x00\x00\x03\x00\x00\x00GNU\x00\xde\xad\xbe\xef"))
	f.Fuzz(func(t *testing.T, notes []byte) {
		if id := symbols.BuildID(notes); !bytes.Contains(notes, id) {
			t.Errorf("%x is not in the notes", id)
		}
	})
}

// TestReadELF compares with what readelf and nm say of a file that the compiler makes.
func TestReadELF(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "program")
	compile := exec.Command("gcc", "-no-pie", "-Wl,--build-id=0x0123abcd", "-x", "c", "-o", path, "-")
	compile.Stdin = strings.NewReader("int counter[3] = {1, 2, 3}; int main(void) { return counter[1]; }")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	table, err := symbols.ReadELF(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(table.BuildID) != "\x01\x23\xab\xcd" {
		t.Errorf("build-id %x", table.BuildID)
	}
	listing, err := exec.Command("readelf", "-sW", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"main", "counter"} {
		s, ok := table.Lookup(name)
		if !ok || !lists(string(listing), name, s) {
			t.Errorf("%s: %+v, %v; readelf says otherwise", name, s, ok)
		}
		if back, off, ok := table.At(s.Addr + 3); !ok || back.Name != name || off != 3 {
			t.Errorf("At(%s+3) = %s+%d, %v", name, back.Name, off, ok)
		}
	}
}

// lists reports whether readelf's listing has the symbol: "Num: Value Size Type Bind Vis Ndx Name".
func lists(listing, name string, s symbols.Symbol) bool {
	kind := "OBJECT"
	if s.Func {
		kind = "FUNC"
	}
	for line := range strings.Lines(listing) {
		f := strings.Fields(line)
		if len(f) == 8 && f[7] == name {
			return f[1] == hex16(s.Addr) && f[2] == decimal(s.Size) && f[3] == kind
		}
	}
	return false
}

func TestReadELFRefuses(t *testing.T) {
	stripped := filepath.Join(t.TempDir(), "stripped")
	compile := exec.Command("gcc", "-s", "-x", "c", "-o", stripped, "-")
	compile.Stdin = strings.NewReader("int main(void) { return 0; }")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	for path, want := range map[string]string{
		stripped: "stripped", "symbols_test.go": "bad magic", "/nowhere": "no such file",
	} {
		if _, err := symbols.ReadELF(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q in it", path, err, want)
		}
	}
}

func hex16(v uint64) string   { return fmt.Sprintf("%016x", v) }
func decimal(v uint64) string { return strconv.FormatUint(v, 10) }

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
