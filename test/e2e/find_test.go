package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"physgdb/test/session"
)

// TestFind searches memory with gdb's find, with monitor find and with physgdb find, and compares
// the results with a copy of the same memory from QEMU.
func TestFind(t *testing.T) {
	onTwo(t, func(t *testing.T, h *host) {
		const size, word = 1 << 20, "Linux version "
		start := h.guest.Facts.Kallsyms["linux_banner"] &^ 0xffff
		places := occurrences(saved(t, h, start, size), word)
		if len(places) == 0 {
			t.Fatal("QEMU has no banner")
		}
		s, address, err := physgdb.Serve(limited(t, time30s), h.guest.Source(), "--notify", h.notices,
			"--vmlinux", h.guest.Kernel.Vmlinux, "--log-level", "debug")
		if err != nil {
			t.Fatal(err)
		}
		arguments := fmt.Sprintf("%#x, +%#x, \"%s\"", start, size, word)
		// gdb would search for the NUL of a string as well
		find := fmt.Sprintf("find %#x, +%#x, '%s'", start, size, strings.Join(strings.Split(word, ""), "', '"))
		absent := fmt.Sprintf("find %#x, +%#x, \"no such text in a kernel\"", start, size)
		steps := gdb(t, "", address, absent, find, "monitor find "+arguments)
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if out := session.Find(steps, absent); out != "Pattern not found." {
			t.Errorf("absent text: %q", out)
		}
		r := run(t, "find", h.guest.Source(), "--notify", h.notices, fmt.Sprintf("%#x", start), fmt.Sprintf("+%#x", size),
			`"`+word+`"`)
		for client, out := range map[string]string{
			"gdb": session.Find(steps, find), "monitor find": session.Find(steps, "monitor find "+arguments),
			"physgdb find": r.Stdout,
		} {
			if got := addresses(out); !slices.Equal(got, at(start, places)) {
				t.Errorf("%s finds %#x, QEMU has %#x\n%s", client, got, at(start, places), out)
			}
		}
		// one search for what is absent; one for each place and one more, as gdb continues after
		// each
		if n := strings.Count(s.Stderr(), `packet="qSearch:memory:`); n != 1+len(places)+1 {
			t.Errorf("%d searches, want %d", n, 1+len(places)+1)
		}
	})
}

// saved returns the memory at a virtual address from QEMU.
func saved(t *testing.T, h *host, va uint64, size int) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "saved")
	if out, err := h.guest.HMP(limited(t, time30s), fmt.Sprintf("memsave %#x %d %q", va, size, file)); err != nil || out != "" {
		t.Fatalf("memsave: %v %s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// occurrences returns the offsets of a word in data.
func occurrences(data []byte, word string) (at []uint64) {
	for from := 0; ; from++ {
		i := bytes.Index(data[from:], []byte(word))
		if i < 0 {
			return at
		}
		from += i
		at = append(at, uint64(from))
	}
}

func at(base uint64, offsets []uint64) (all []uint64) {
	for _, o := range offsets {
		all = append(all, base+o)
	}
	return all
}

// addresses returns the numbers at the start of lines.
func addresses(text string) (all []uint64) {
	for line := range strings.Lines(text) {
		if first, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(first, "0x") {
			all = append(all, number(first))
		}
	}
	return all
}

// TestCompareSections compares vmlinux with memory in gdb. Sections that the kernel never writes
// are equal; its code is not, because it patches itself.
func TestCompareSections(t *testing.T) {
	onTwo(t, func(t *testing.T, h *host) {
		for _, source := range []string{h.guest.Source(), adapter(t, h)} {
			address := serve(t, source, "--notify", h.notices, "--vmlinux", h.guest.Kernel.Vmlinux)
			steps := gdb(t, h.guest.Kernel.Vmlinux, address, "compare-sections")
			out := session.Find(steps, "compare-sections")
			for section, want := range map[string]string{
				".notes": "matched.", ".BTF": "matched.", "__ksymtab_strings": "matched.", ".orc_unwind": "matched.",
				".text": "MIS-MATCHED!", ".data": "MIS-MATCHED!",
			} {
				if !sectionIs(out, section, want) {
					t.Errorf("%s is not %s:\n%s", section, want, out)
				}
			}
		}
	})
}

// sectionIs reports whether gdb prints a result for a section.
func sectionIs(out, section, want string) bool {
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "Section "+section+",") {
			return strings.HasSuffix(strings.TrimSpace(line), want)
		}
	}
	return false
}
