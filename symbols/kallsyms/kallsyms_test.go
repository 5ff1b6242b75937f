package kallsyms_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/kallsyms"
)

const (
	kallsymsBase = 0xffff_ffff_9200_0000
	kallsymsText = 0xffff_ffff_9100_0000
)

// kallsymsForm is how a kernel lays its table out (scripts/kallsyms.c).
type kallsymsForm struct {
	name      string
	following bool // addresses follow the tokens, as since 6.4
	perCPU    bool // CONFIG_KALLSYMS_ABSOLUTE_PERCPU
	seqs      bool // kallsyms_seqs_of_names, between markers and tokens or at the end
	relative  bool // to the place of each number, as since 7.0
	addresses bool // whole ones
	align4    bool // labels are 4-aligned, as since 7.0
	align8    uint // of 4-aligned labels, those that happen to be 8-aligned: a bit for each, in the order of the table
	before    int  // bytes before the table
}

var kallsymsForms = []kallsymsForm{
	{name: "5.10", perCPU: true},
	{name: "6.2", perCPU: true, seqs: true},
	{name: "6.4", following: true, perCPU: true, seqs: true},
	{name: "6.15", following: true, seqs: true},
	{name: "one CPU", perCPU: false},
	{name: "7.0", following: true, relative: true, seqs: true, align4: true},
	{name: "7.0, shifted", following: true, relative: true, seqs: true, align4: true, before: 4},
	{name: "without relative addresses", addresses: true},
}

// manySymbols are made up: letters of nm before names, in the order of addresses.
func manySymbols(n int, perCPU bool) (names []string, addrs []uint64) {
	add := func(name string, addr uint64) { names, addrs = append(names, name), append(addrs, addr) }
	if perCPU {
		add("Afixed_percpu_data", 0)
		add("Arunqueues", 0x34000)
	}
	add("T_text", kallsymsText)
	add("T_stext", kallsymsText)
	for i := len(names); i < n-2; i++ {
		letter := "TtDdRrBbWw?"[i%11] // nm prints ? for types that it does not know
		add(fmt.Sprintf("%c%s_%d", letter, strings.Repeat("long", i%40), i), kallsymsText+uint64(i)*48)
	}
	add("D"+strings.Repeat("x", 200)+"_longer_than_127", kallsymsBase+0x10000)
	add("Blast.cold", kallsymsBase+0x20000)
	return names, addrs
}

// writeKallsyms writes a table after some other bytes.
func writeKallsyms(f kallsymsForm, names []string, addrs []uint64) []byte {
	out := bytes.Repeat([]byte("no table"), 1000+f.before)[4*f.before:]
	labels := 0
	label := func() {
		align := 8
		if f.align4 && f.align8&(1<<labels) == 0 {
			align = 4
		}
		labels++
		for len(out)%align != 0 {
			out = append(out, 0)
		}
	}
	u32 := func(v uint32) { out = binary.LittleEndian.AppendUint32(out, v) }
	u64 := func(v uint64) { out = binary.LittleEndian.AppendUint64(out, v) }
	base := addrs[slices.Index(names, "T_text")]
	writeAddresses := func() {
		label()
		for _, a := range addrs {
			switch {
			case f.addresses:
				u64(a)
			case f.relative:
				u32(uint32(a - (kallsymsBase + uint64(len(out)))))
			case f.perCPU && a < base:
				u32(uint32(a))
			case f.perCPU:
				u32(uint32(base - 1 - a))
			default:
				u32(uint32(a - base))
			}
		}
		if !f.addresses && !f.relative {
			label()
			u64(base)
		}
	}
	if !f.following {
		writeAddresses()
	}
	label()
	u32(uint32(len(names)))
	label()
	// Every character is literal, except one token of four letters.
	var markers []uint32
	start := len(out)
	for i, name := range names {
		if i%256 == 0 {
			markers = append(markers, uint32(len(out)-start))
		}
		packed := strings.ReplaceAll(name, "long", "\x01")
		if n := len(packed); n < 0x80 {
			out = append(out, byte(n))
		} else {
			out = append(out, byte(n&0x7f|0x80), byte(n>>7))
		}
		out = append(out, packed...)
	}
	label()
	for _, m := range markers {
		u32(m)
	}
	if f.seqs && !f.following {
		label()
		out = append(out, bytes.Repeat([]byte{0, 1, 2}, len(names))...)
	}
	label()
	var index [256]uint16
	tokens := len(out)
	for c := range index {
		index[c] = uint16(len(out) - tokens)
		switch {
		case c == 1:
			out = append(out, "long"...)
		case c > ' ' && c <= '~':
			out = append(out, byte(c))
		}
		out = append(out, 0)
	}
	label()
	for _, at := range index {
		out = binary.LittleEndian.AppendUint16(out, at)
	}
	if f.following {
		writeAddresses()
	}
	if f.seqs && f.following {
		label()
		out = append(out, bytes.Repeat([]byte{0, 1, 2}, len(names))...)
	}
	return append(out, "after it"...)
}

func TestFindKallsyms(t *testing.T) {
	for _, f := range kallsymsForms {
		t.Run(f.name, func(t *testing.T) {
			names, addrs := manySymbols(3000, f.perCPU)
			k, err := kallsyms.Find(kallsymsBase, writeKallsyms(f, names, addrs), kallsymsText)
			if err != nil {
				t.Fatal(err)
			}
			if len(k.Symbols) != len(names) || k.Lost != 0 {
				t.Fatalf("%d symbols, %d lost, want %d", len(k.Symbols), k.Lost, len(names))
			}
			for i, s := range k.Symbols {
				letter := names[i][0]
				want := symbols.Symbol{
					Name: names[i][1:], Addr: addrs[i], Func: strings.ContainsRune("TtWw", rune(letter)),
					Local: strings.ContainsRune("tdrb", rune(letter)), Weak: strings.ContainsRune("Ww", rune(letter)),
				}
				if s != want {
					t.Fatalf("symbol %d is %+v, want %+v", i, s, want)
				}
			}
		})
	}
}

// TestKallsymsAlignments: every part of the table can be 4- or 8-aligned, whatever the others are.
func TestKallsymsAlignments(t *testing.T) {
	const labels = 7
	names, addrs := manySymbols(1101, false)
	for _, f := range kallsymsForms {
		if f.perCPU || f.addresses {
			continue
		}
		f.align4 = true
		for f.align8 = range uint(1 << labels) {
			for f.before = range 2 {
				k, err := kallsyms.Find(kallsymsBase, writeKallsyms(f, names, addrs), kallsymsText)
				if err != nil {
					t.Fatalf("%s, %07b 8-aligned: %v", f.name, f.align8, err)
				}
				for i, s := range k.Symbols {
					if s.Name != names[i][1:] || s.Addr != addrs[i] {
						t.Fatalf("%s, %07b 8-aligned: symbol %d is %+v, want %s at %#x", f.name, f.align8, i, s, names[i], addrs[i])
					}
				}
			}
		}
	}
}

// TestDamagedKallsyms: what is lost costs the names around it, and no more.
func TestDamagedKallsyms(t *testing.T) {
	f := kallsymsForms[2]
	names, addrs := manySymbols(8000, f.perCPU)
	whole := writeKallsyms(f, names, addrs)
	name := bytes.Index(whole, []byte("\x01_5001")) // one in the middle
	offset := bytes.LastIndex(whole, binary.LittleEndian.AppendUint32(nil, uint32(kallsymsText-1-addrs[6000])))
	for _, tc := range []struct {
		name     string
		from, to int
		lost     int // at most
	}{
		{"a hole in the names", name, name + 100, 256},
		{"a hole in the addresses", offset, offset + 400, 100},
		{"nothing", 0, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if name < 0 || offset < 0 {
				t.Fatal("the places to damage were not found")
			}
			image := bytes.Clone(whole)
			clear(image[tc.from:tc.to])
			k, err := kallsyms.Find(kallsymsBase, image, kallsymsText)
			if err != nil {
				t.Fatal(err)
			}
			if k.Lost > tc.lost || tc.lost > 0 && k.Lost == 0 || len(k.Symbols)+k.Lost != len(names) {
				t.Errorf("%d symbols, %d lost of %d, want at most %d lost", len(k.Symbols), k.Lost, len(names), tc.lost)
			}
			want := map[string]uint64{}
			for i, name := range names {
				want[name[1:]] = addrs[i]
			}
			for _, s := range k.Symbols {
				if addr, ok := want[s.Name]; !ok || addr != s.Addr {
					t.Fatalf("%s at %#x, want %#x", s.Name, s.Addr, addr)
				}
			}
		})
	}
}

func TestNoKallsyms(t *testing.T) {
	f := kallsymsForms[2]
	names, addrs := manySymbols(3000, f.perCPU)
	whole := writeKallsyms(f, names, addrs)
	tokens := bytes.Index(whole, []byte("0\x001\x002\x00"))
	for name, tc := range map[string]struct {
		image []byte
		text  uint64
		want  string
	}{
		"nothing":           {nil, kallsymsText, "no token table"},
		"no tokens":         {whole[:tokens], kallsymsText, "no token table"},
		"no index":          {whole[:tokens+300], kallsymsText, "no token table"},
		"no names":          {whole[(tokens-96)&^7:], kallsymsText, "unknown kallsyms format"},
		"no addresses":      {whole[:tokens+1200], kallsymsText, "unknown kallsyms format"},
		"of another kernel": {whole, kallsymsText + 0x200000, "unknown kallsyms format"},
	} {
		if _, err := kallsyms.Find(kallsymsBase, tc.image, tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func FuzzKallsyms(f *testing.F) {
	for _, form := range kallsymsForms {
		names, addrs := manySymbols(1100, form.perCPU)
		f.Add(writeKallsyms(form, names, addrs))
	}
	f.Fuzz(func(t *testing.T, image []byte) {
		k, err := kallsyms.Find(kallsymsBase, image, kallsymsText)
		if err != nil {
			return
		}
		for i := range k.Symbols {
			if s := &k.Symbols[i]; s.Name == "" || i > 0 && s.Addr < k.Symbols[i-1].Addr {
				t.Fatalf("symbol %d: %+v", i, s)
			}
		}
	})
}

// TestKallsymsListsNothingTwice has a kernel that lists some of the table's own parts.
func TestKallsymsListsNothingTwice(t *testing.T) {
	k := &kallsyms.Table{
		Symbols: []symbols.Symbol{
			{Name: "runqueues", Addr: 0x100}, {Name: "_text", Addr: 0x1000}, {Name: "__start_rodata", Addr: 0x2000},
			{Name: "kallsyms_names", Addr: 0x2000}, {Name: "kallsyms_names", Addr: 0x3000},
		},
		Own: []symbols.Symbol{{Name: "kallsyms_names", Addr: 0x2000}, {Name: "kallsyms_markers", Addr: 0x2800}},
	}
	all := k.All()
	if want := append(slices.Clone(k.Symbols), k.Own[1]); !slices.Equal(all, want) {
		t.Errorf("got %v, want %v", all, want)
	}
}
