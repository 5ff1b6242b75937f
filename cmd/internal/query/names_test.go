package query

import (
	"encoding/binary"
	"slices"
	"testing"

	"physgdb/cmd/internal/machine"
	"physgdb/symbols"
	"physgdb/test/memimage"
	"physgdb/test/rig"
)

// attachWithNames attaches to a rig whose kernel has names that several symbols share, and per-CPU
// variables in its image, as since 6.15.
func attachWithNames(t *testing.T) *machine.Machine {
	t.Helper()
	m := attachWithVmlinux(t, rig.New(t, 4))
	known, err := m.Kernel.With(ctx, symbols.NewTable([]symbols.Symbol{
		{Name: "_text", Addr: memimage.LinkText}, {Name: "s_show", Addr: memimage.LinkText + 0x2000, Func: true},
		{Name: "s_show", Addr: memimage.LinkText + 0x5000, Func: true}, {Name: "__per_cpu_offset", Addr: memimage.LinkText + 0x6000},
		{Name: "__per_cpu_start", Addr: memimage.LinkText + 0x7000}, {Name: "runqueues", Addr: memimage.LinkText + 0x7100},
		{Name: "__per_cpu_end", Addr: memimage.LinkText + 0x8000},
	}, nil), nil)
	rig.Must(t, err)
	m.Kernel = known
	return m
}

func TestANameOfSeveralSymbolsIsNoAddress(t *testing.T) {
	m := attachWithNames(t)
	_, err := Addresses(m, []string{"s_show"})
	rig.WantError(t, err, `"s_show" is the name of several symbols, at 0xffffffff9d002000, 0xffffffff9d005000`)
	_, err = Addresses(m, []string{"runqueues+8"})
	rig.WantError(t, err, "percpu runqueues all")
}

// TestFindSearchesForAllSymbolsOfAName has a pattern for each address.
func TestFindSearchesForAllSymbolsOfAName(t *testing.T) {
	m := attachWithNames(t)
	f, err := ParseFind(`0x0, 0xff, 0x61, &s_show`)
	rig.Must(t, err)
	got, err := f.patterns(m)
	rig.Must(t, err)
	var want [][]byte
	for _, at := range []uint64{0x2000, 0x5000} {
		want = append(want, binary.LittleEndian.AppendUint64([]byte{0x61, 0, 0, 0}, memimage.LinkText+rig.Slide+at))
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// TestScanFindsEveryPattern has two patterns, in order of their places, across pieces as well.
func TestScanFindsEveryPattern(t *testing.T) {
	var got []uint64
	s := scan{patterns: [][]byte{[]byte("ab"), []byte("bc")}, hit: func(at uint64) bool {
		got = append(got, at)
		return true
	}}
	s.piece(100, []byte("abcab"))
	s.piece(105, []byte("cab"))
	if want := []uint64{100, 101, 103, 104, 106}; !slices.Equal(got, want) {
		t.Errorf("found at %d, want %d", got, want)
	}
}
