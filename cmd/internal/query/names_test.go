package host

import (
	"encoding/binary"
	"path/filepath"
	"slices"
	"testing"

	"physgdb/symbols"
	"physgdb/test/memimage"
)

// attachWithNames attaches to a rig whose kernel has names that several symbols share, and per-CPU variables in its image, as
// since 6.15.
func attachWithNames(t *testing.T) *Machine {
	t.Helper()
	m := newRig(t, 4).attachWithVmlinux(t)
	known, err := m.Kernel.With(ctx, symbols.NewTable([]symbols.Symbol{
		{Name: "_text", Addr: memimage.LinkText}, {Name: "s_show", Addr: memimage.LinkText + 0x2000, Func: true},
		{Name: "s_show", Addr: memimage.LinkText + 0x5000, Func: true}, {Name: "__per_cpu_offset", Addr: memimage.LinkText + 0x6000},
		{Name: "__per_cpu_start", Addr: memimage.LinkText + 0x7000}, {Name: "runqueues", Addr: memimage.LinkText + 0x7100},
		{Name: "__per_cpu_end", Addr: memimage.LinkText + 0x8000},
	}, nil), nil)
	must(t, err)
	m.Kernel = known
	return m
}

func TestANameOfSeveralSymbolsIsNoAddress(t *testing.T) {
	m := attachWithNames(t)
	_, err := m.Addresses([]string{"s_show"})
	wantError(t, err, `"s_show" stands for several symbols, at 0xffffffff9d002000, 0xffffffff9d005000`)
	_, err = m.Addresses([]string{"runqueues+8"})
	wantError(t, err, "percpu runqueues all")
}

// TestFindSearchesForAllSymbolsOfAName has a pattern for each address.
func TestFindSearchesForAllSymbolsOfAName(t *testing.T) {
	m := attachWithNames(t)
	f, err := parseFind(`0x0, 0xff, 0x61, &s_show`)
	must(t, err)
	got, err := f.patterns(m)
	must(t, err)
	var want [][]byte
	for _, at := range []uint64{0x2000, 0x5000} {
		want = append(want, binary.LittleEndian.AppendUint64([]byte{0x61, 0, 0, 0}, memimage.LinkText+slide+at))
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

// TestDebuggersAreShownNoPerCPUTemplate: what the kernel copied for each CPU, and then freed, is no variable.
func TestDebuggersAreShownNoPerCPUTemplate(t *testing.T) {
	s := connect(t, attachWithNames(t))
	p := make([]byte, 8)
	_, err := s.ReadMemory(ctx, s.first, memimage.LinkText+slide+0x7100, p)
	wantError(t, err, "add $gs_base to its address")
	if _, err := s.ReadMemory(ctx, s.first, memimage.LinkText+slide+0x8000, p); err != nil {
		t.Errorf("behind the template: %v", err)
	}
}

// TestAVmlinuxIsFoundWithoutTheKernelsNames: a kernel whose own names cannot be read is explained by a vmlinux of the release in
// its banner, if memory has the build-id of that; by another it is not.
func TestAVmlinuxIsFoundWithoutTheKernelsNames(t *testing.T) {
	for id, found := range map[string]bool{memimage.BuildID: true, "\xde\xad\xbe\xef": false} {
		r := newRig(t, 4)
		copy(r.RAM[r.TextPhys+8<<21:], "Linux version 6.1-test (x) #1 SMP\n\x00")
		must(t, r.Kernel.WriteFile(r.path("ram")))
		dir := t.TempDir()
		must(t, r.WriteVmlinux(filepath.Join(dir, "vmlinux-6.1-test"), id))
		m := r.attach(t, Options{DebugDirs: []string{dir}, Symbols: SymbolsAuto})
		if got := m.Kernel.Symbols != nil; got != found {
			t.Errorf("build-id %x: found: %v, want %v: %v", id, got, found, m.noVmlinux)
		}
		if err := m.Unexplained(); (err == nil) != found {
			t.Errorf("build-id %x: %v", id, err)
		}
	}
}
