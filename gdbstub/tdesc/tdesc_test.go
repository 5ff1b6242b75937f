package tdesc_test

import (
	"encoding/xml"
	"strings"
	"testing"

	"physgdb/gdbstub/tdesc"
)

// TestNumbers checks the numbers of registers that gdb and lldb know by heart.
func TestNumbers(t *testing.T) {
	for _, tc := range []struct {
		name        string
		description *tdesc.Description
		numbers     map[string]int
		bytes       int // of the core feature
	}{
		{"x86-64", tdesc.AMD64(), map[string]int{"rax": 0, "rsp": 7, "rip": 16, "eflags": 17, "st0": 24, "fop": 39}, 17*8 + 7*4 + 8*10 + 8*4},
		{"i386", tdesc.I386(), map[string]int{"eax": 0, "esp": 4, "eip": 8, "eflags": 9, "st0": 16, "fop": 31}, 16*4 + 8*10 + 8*4},
		{"x32", tdesc.X32(), map[string]int{"rax": 0, "rsp": 7, "rip": 16}, 17*8 + 7*4 + 8*10 + 8*4},
	} {
		all := tc.description.Registers()
		for name, n := range tc.numbers {
			if all[n].Name != name {
				t.Errorf("%s: register %d is %s, want %s", tc.name, n, all[n].Name, name)
			}
		}
		bits := 0
		for _, r := range tc.description.Features[0].Registers {
			bits += r.Bits
		}
		if bits != 8*tc.bytes {
			t.Errorf("%s: the core has %d bits, want %d", tc.name, bits, 8*tc.bytes)
		}
	}
}

func TestX32HasNo64BitPointers(t *testing.T) {
	if doc := string(tdesc.X32().XML()); strings.Contains(doc, "_ptr") {
		t.Error(doc)
	}
}

func TestValues(t *testing.T) {
	values := map[string]uint64{"rip": 0x1122334455667788, "cs": 0x10, "xmm0": 1}
	for _, tc := range []struct {
		r         tdesc.Register
		want      string
		available bool
	}{
		{tdesc.Register{Name: "rip", Bits: 64}, "8877665544332211", true},
		{tdesc.Register{Name: "cs", Bits: 32}, "10000000", true},
		{tdesc.Register{Name: "ss", Bits: 32}, "xxxxxxxx", false},
		{tdesc.Register{Name: "xmm0", Bits: 128}, strings.Repeat("xx", 16), false}, // has no values here
	} {
		if got := string(tc.r.AppendHex([]byte("before"), values)); got != "before"+tc.want {
			t.Errorf("%s: %s, want %s", tc.r.Name, got, tc.want)
		}
		if tc.r.Available(values) != tc.available {
			t.Errorf("%s: available is %v", tc.r.Name, !tc.available)
		}
		value, err := tc.r.ParseHex([]byte(tc.want))
		if (err == nil) != tc.available || tc.available && value != values[tc.r.Name] {
			t.Errorf("%s: parsed as %#x, %v", tc.r.Name, value, err)
		}
	}
}

func TestParseHexRefuses(t *testing.T) {
	for _, digits := range []string{"", "1", "1000000", "100000000", "1000000g"} {
		if _, err := (tdesc.Register{Name: "cs", Bits: 32}).ParseHex([]byte(digits)); err == nil {
			t.Errorf("%q is taken", digits)
		}
	}
}

func TestXMLIsWellFormed(t *testing.T) {
	d := tdesc.AMD64()
	d.Features = append(d.Features, tdesc.Feature{Name: "a<b>&\"c\x01", Registers: []tdesc.Register{{Name: "<", Bits: 8, Type: "int8"}}})
	var doc struct {
		Architecture string `xml:"architecture"`
		Features     []struct {
			Name      string `xml:"name,attr"`
			Registers []struct {
				Bits int `xml:"bitsize,attr"`
			} `xml:"reg"`
		} `xml:"feature"`
	}
	if err := xml.Unmarshal(d.XML(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Architecture != "i386:x86-64" || len(doc.Features) != len(d.Features) || doc.Features[3].Name != `a<b>&"c\x01` {
		t.Errorf("%+v", doc)
	}
	for i, f := range doc.Features {
		if len(f.Registers) != len(d.Features[i].Registers) {
			t.Errorf("%s has %d registers, want %d", f.Name, len(f.Registers), len(d.Features[i].Registers))
		}
	}
}
