package e2e

import (
	"bytes"
	"debug/elf"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"physgdb/symbols/elffile"
)

// TestSyntheticFileMatchesVmlinux compares what was read out of a machine's memory with the
// kernel's real vmlinux: every function symbol, the types and notes byte by byte, and the unwind
// tables. What the debuggers read of these is compared with the compiler's data in package
// elfsynth.
func TestSyntheticFileMatchesVmlinux(t *testing.T) {
	onTwo(t, func(t *testing.T, h *host) {
		path := filepath.Join(t.TempDir(), "vmlinux.synth")
		run(t, "symbols", h.guest.Source(), "-o", path)
		made, err := elffile.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		h.sameFunctions(t, made)
		for _, section := range []string{".BTF", ".notes"} {
			if !bytes.Equal(sectionOf(t, path, section), sectionOf(t, h.guest.Kernel.Vmlinux, section)) {
				t.Errorf("section %s differs", section)
			}
		}
		vmlinux, err := elffile.Open(h.guest.Kernel.Vmlinux)
		if err != nil {
			t.Fatal(err)
		}
		defer vmlinux.Close()
		real, err := vmlinux.Unwinder()
		if err != nil {
			t.Fatal(err)
		}
		unwinder, err := made.Unwinder()
		if err != nil {
			t.Fatal(err)
		}
		text, size := h.linkAddress(t, "_text"), h.linkAddress(t, "_etext")-h.linkAddress(t, "_text")
		random := rand.New(rand.NewPCG(1, 2))
		for range 10_000 {
			pc := text + random.Uint64N(size)
			want, known := real.At(pc)
			if got, ok := unwinder.At(pc); got != want || ok != known {
				t.Fatalf("%#x: %+v, want %+v", pc, got, want)
			}
		}
	})
}

// sameFunctions wants every function of one name in both files to be at the same address.
func (h *host) sameFunctions(t *testing.T, made *elffile.File) {
	t.Helper()
	count := map[string]int{}
	real := map[string]uint64{}
	for s := range h.vmlinux.All() {
		if s.Func {
			real[s.Name] = s.Addr
			count[s.Name]++
		}
	}
	equal, several, ours := 0, 0, 0
	for s := range made.All() {
		addr, ok := real[s.Name]
		switch {
		case !s.Func:
		case count[s.Name] > 1:
			several++
		case !ok:
			ours++ // labels of assembly, which are no functions there
		case addr != s.Addr:
			t.Errorf("%s at %#x, in the vmlinux at %#x", s.Name, s.Addr, addr)
		default:
			equal++
		}
	}
	t.Logf("%d functions equal, %d of names that several have, %d that are no functions in the vmlinux", equal, several, ours)
	if equal < len(real)*9/10 {
		t.Errorf("%d functions of %d", equal, len(real))
	}
}

func sectionOf(t *testing.T, path, name string) []byte {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := f.Section(name)
	if s == nil {
		t.Fatalf("%s has no section %s", path, name)
	}
	data, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	return data
}
