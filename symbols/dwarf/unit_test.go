package dwarf

import (
	"debug/dwarf"
	"slices"
	"strings"
	"testing"

	"physgdb/symbols/internal/symtest"
)

// TestUnitHeadersAgreeWithReadelf compares the units that are found with those that readelf lists.
func TestUnitHeadersAgreeWithReadelf(t *testing.T) {
	for _, flags := range [][]string{
		{"-gdwarf-5"}, {"-gdwarf-4"}, {"-gdwarf-3"}, {"-gdwarf-5", "-gdwarf64"}, {"-g", "-flto"},
	} {
		program := lineProgram(t, flags...)
		want := strings.Count(symtest.Tool(t, "", "readelf", "--debug-dump=info", "--dwarf-depth=1", program), "Compilation Unit @")
		file, err := openDebugFile(program)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		decode := newUnitDecoder(file.sections)
		got := 0
		for h, err := range file.unitHeaders() {
			if err != nil {
				t.Fatal(err)
			}
			got++
			u, err := decode.open(h)
			if err != nil {
				t.Fatal(err)
			}
			whole, _, err := u.root()
			if err != nil {
				t.Fatal(err)
			}
			_, alone, err := file.root(h)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range []*dwarf.Entry{whole, alone} {
				if e.Tag != dwarf.TagCompileUnit || e.Val(dwarf.AttrName) == nil {
					t.Errorf("%v: the unit at %#x starts with %v", flags, h.off, e)
				}
			}
		}
		if got != want || got == 0 {
			t.Errorf("%v: %d units; readelf lists %d", flags, got, want)
		}
	}
}

func TestDamagedUnitHeaders(t *testing.T) {
	for name, info := range map[string]string{
		"cut off":                       "\x10\x00",
		"longer than the section":       "\x10\x00\x00\x00\x05\x00\x01\x08\x00\x00\x00\x00",
		"too short for a header":        "\x04\x00\x00\x00\x05\x00\x01\x08",
		"abbreviations that are none":   "\x08\x00\x00\x00\x05\x00\x01\x08\xff\x00\x00\x00",
		"64 bits, longer than it may":   "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x05\x00\x01\x08",
		"too short for a type's header": "\x0a\x00\x00\x00\x05\x00\x02\x08\x00\x00\x00\x00\x00\x00",
	} {
		s := sections{"info": []byte(info), "abbrev": []byte{0}}
		for h, err := range s.unitHeaders() {
			if err == nil {
				t.Errorf("%s: %+v", name, h)
			}
		}
	}
}

// TestLineHeadersThatClaimTooMuch: the package debug/dwarf would reserve memory for what these
// claim to have.
func TestLineHeadersThatClaimTooMuch(t *testing.T) {
	const start = "\x05\x00\x08\x00\x00\x01\x00\x00\x01\x01\x01\xfb\x0e\x0d" + // version, sizes, length, encoding of rows
		"\x00\x01\x01\x01\x01\x00\x00\x00\x01\x00\x00\x01" // lengths of opcodes
	const inline = "\x01\x01\x08" // one form: the path, a string
	for _, tc := range []struct {
		name, lists string
		ok          bool
	}{
		{"one directory, one file", inline + "\x01/\x00" + inline + "\x01a.c\x00", true},
		{"none", "\x00\x00\x00\x00", true},
		{"2^56 directories", inline + "\x80\x80\x80\x80\x80\x80\x80\x80\x01/\x00" + inline + "\x00", false},
		{"2^56 files", inline + "\x01/\x00" + inline + "\x80\x80\x80\x80\x80\x80\x80\x80\x01a.c\x00", false},
		{"files of no form", inline + "\x01/\x00" + "\x00\x02", false},
		{"a name without end", inline + "\x01/", false},
		{"a form to come", "\x01\x01\x7f\x01/\x00" + inline + "\x00", false},
		{"cut off", inline, false},
	} {
		body := start + tc.lists
		section := append([]byte{byte(len(body)), 0, 0, 0}, body...)
		root := &dwarf.Entry{Field: []dwarf.Field{{Attr: dwarf.AttrStmtList, Val: int64(0)}}}
		if err := (sections{"line": section}).checkLineTable(root); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestStringOffsets(t *testing.T) {
	const section = "task\x00sub_task\x00list\x00hlist\x00a_tail\x00tail_a_tail\x00"
	for _, tc := range []struct {
		name string
		want []int
	}{
		{"task", []int{0}}, {"list", []int{14}}, {"sub_task", []int{5}}, {"nothing", nil}, {"sub", nil},
		{"ail", []int{28, 40}}, // only as the tail of others
	} {
		if got := stringOffsets([]byte(section), []byte(tc.name+"\x00"), 9); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v; want %v", tc.name, got, tc.want)
		}
	}
	if got := stringOffsets([]byte(section), []byte("l\x00"), 1); len(got) != 1 {
		t.Errorf("more than wanted: %v", got)
	}
}

// TestNameSearchEverywhere: where names can be numbers, or the tails of too many others, all units
// may have them.
func TestNameSearchEverywhere(t *testing.T) {
	tails := []byte(strings.Repeat("a_tail\x00", 20))
	for _, tc := range []struct {
		name string
		s    sections
		want bool
	}{
		{"a_tail", sections{"str": tails}, false},
		{"tail", sections{"str": tails}, true},
		{"tail", sections{"str": tails[:14]}, false},
		{"a_tail", sections{"str": tails, "str_offsets": []byte{0}}, true},
		{"nothing", sections{"str": tails, "str_offsets": []byte{0}}, false},
	} {
		if got := newNameSearch(tc.s, tc.name).everywhere; got != tc.want {
			t.Errorf("%s: %v; want %v", tc.name, got, tc.want)
		}
	}
}
