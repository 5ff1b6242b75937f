package elffile_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/elffile"
)

func TestBuildID(t *testing.T) {
	const gnu = "\x04\x00\x00\x00\x04\x00\x00\x00\x03\x00\x00\x00GNU\x00\xde\xad\xbe\xef"
	const other = "\x06\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00Linux\x00\x00\x00\x01\x00\x00\x00"
	for _, tc := range []struct{ name, notes, want string }{
		{"alone", gnu, "\xde\xad\xbe\xef"},
		{"after another", other + gnu, "\xde\xad\xbe\xef"},
		{"missing", other, ""},
		{"nothing", "", ""},
		{"cut off", gnu[:len(gnu)-1], ""},
		{"a length beyond all", "\xff\xff\xff\xff\xff\xff\xff\xff\x03\x00\x00\x00GNU\x00", ""},
	} {
		if got := elffile.BuildID([]byte(tc.notes)); string(got) != tc.want {
			t.Errorf("%s: %x, want %x", tc.name, got, tc.want)
		}
	}
}

func FuzzBuildID(f *testing.F) {
	f.Add([]byte("\x04\x00\x00\x00\x04\x00\x00\x00\x03\x00\x00\x00GNU\x00\xde\xad\xbe\xef"))
	f.Fuzz(func(t *testing.T, notes []byte) {
		if id := elffile.BuildID(notes); !bytes.Contains(notes, id) {
			t.Errorf("%x is not in the notes", id)
		}
	})
}

// TestReadTable compares with what readelf and nm say of a file that the compiler makes.
func TestReadTable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "program")
	compile := exec.Command("gcc", "-no-pie", "-Wl,--build-id=0x0123abcd", "-x", "c", "-o", path, "-")
	compile.Stdin = strings.NewReader("int counter[3] = {1, 2, 3}; int main(void) { return counter[1]; }")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	table, err := elffile.ReadTable(path)
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

func TestReadTableRefuses(t *testing.T) {
	stripped := filepath.Join(t.TempDir(), "stripped")
	compile := exec.Command("gcc", "-s", "-x", "c", "-o", stripped, "-")
	compile.Stdin = strings.NewReader("int main(void) { return 0; }")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	for path, want := range map[string]string{
		stripped: "stripped", "table_test.go": "bad magic", "/nowhere": "no such file",
	} {
		if _, err := elffile.ReadTable(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q in it", path, err, want)
		}
	}
}

func hex16(v uint64) string   { return fmt.Sprintf("%016x", v) }
func decimal(v uint64) string { return strconv.FormatUint(v, 10) }
