package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const time30s = 30 * time.Second

func (h *host) log(t *testing.T) string {
	t.Helper()
	log, err := os.ReadFile(h.guest.SerialLog())
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}

// gva2gpa translates an address with QEMU's monitor, which walks from the CR3 of its first CPU.
func (h *host) gva2gpa(t *testing.T, va uint64) uint64 {
	t.Helper()
	out, err := h.guest.HMP(limited(t, time30s), fmt.Sprintf("gva2gpa %#x", va))
	if err != nil {
		t.Fatal(err)
	}
	pa, err := strconv.ParseUint(strings.TrimSpace(strings.TrimPrefix(out, "gpa:")), 0, 64)
	if err != nil {
		t.Fatalf("gva2gpa %#x: %q", va, out)
	}
	return pa
}

// mapping is a line of physgdb maps --json.
type mapping struct {
	VA, End, PA string
	Page        uint64
	Flags       string
	Path        []int
	RAM         bool
}

func (m *mapping) va() uint64  { return number(m.VA) }
func (m *mapping) end() uint64 { return number(m.End) }

func number(s string) uint64 {
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		panic(err)
	}
	return v
}

// mappings runs physgdb maps.
func mappings(t *testing.T, source string, args ...string) (list []mapping, notes string, took time.Duration) {
	t.Helper()
	r := run(t, append([]string{"maps", source, "--json"}, args...)...)
	for line := range strings.Lines(r.Stdout) {
		var m mapping
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		list = append(list, m)
	}
	return list, r.Stderr, r.Elapsed
}

// vma is a line of /proc/PID/maps.
type vma struct {
	start, end   uint64
	rights, name string
}

func parseMaps(t *testing.T, text string) (vmas []vma) {
	t.Helper()
	for line := range strings.Lines(text) {
		var v vma
		if _, err := fmt.Sscanf(line, "%x-%x %s", &v.start, &v.end, &v.rights); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if fields := strings.Fields(line); len(fields) > 5 {
			v.name = fields[5]
		}
		vmas = append(vmas, v)
	}
	return vmas
}

// TestUserMappings compares the clock's user space with the kernel's own lists: its VMAs, and its
// resident pages.
func TestUserMappings(t *testing.T) {
	on(t, func(t *testing.T, h *host) {
		source := adapter(t, h)
		vmas := parseMaps(t, h.guest.Facts.ClockMaps)
		merged, _, _ := mappings(t, source, "--notify", h.notices, "--cr3", "hello:clock", "--user")
		all, _, _ := mappings(t, source, "--notify", h.notices, "--cr3", "hello:clock", "--user", "--all")
		if len(merged) >= len(all) {
			t.Errorf("%d pages in %d ranges", len(all), len(merged))
		}
		executable := 0
		for _, m := range all { // a range may span two adjacent VMAs
			v, ok := within(vmas, &m)
			switch {
			case !ok:
				t.Errorf("%s-%s is in no VMA of\n%s", m.VA, m.End, h.guest.Facts.ClockMaps)
			case m.Flags[3] != 'u' || m.Flags[1] == 'w' && v.rights[1] != 'w' || m.Flags[2] == 'x' && v.rights[2] != 'x':
				t.Errorf("%s-%s has rights %s in a VMA with %s", m.VA, m.End, m.Flags, v.rights)
			case m.Flags[2] == 'x':
				executable++
			case v.rights[2] == 'x':
				t.Errorf("%s-%s of a VMA with %s is not executable: %s", m.VA, m.End, v.rights, m.Flags)
			}
		}
		if executable == 0 {
			t.Error("no range is executable")
		}
		var pages []uint64
		for _, m := range all {
			if v, _ := within(vmas, &m); v.name == "[vvar]" {
				continue // mapped by frame numbers, which /proc/PID/pagemap does not show
			}
			pages = append(pages, m.va())
		}
		if diff := cmp.Diff(h.guest.Facts.ClockPages, pages); diff != "" {
			t.Errorf("resident pages (-pagemap +physgdb):\n%s", diff)
		}
		t.Logf("%d resident pages in %d ranges", len(pages), len(merged))
	})
}

func within(vmas []vma, m *mapping) (vma, bool) {
	for _, v := range vmas {
		if v.start <= m.va() && m.end() <= v.end {
			return v, true
		}
	}
	return vma{}, false
}

// TestKernelTranslations compares 1000 random kernel addresses with QEMU's own walk.
func TestKernelTranslations(t *testing.T) {
	on(t, func(t *testing.T, h *host) {
		source := adapter(t, h)
		all, notes, took := mappings(t, source, "--notify", h.notices, "--kernel", "--all")
		t.Logf("%d kernel pages in %v; %s", len(all), took, strings.TrimSpace(notes))
		rng := rand.New(rand.NewPCG(uint64(len(all)), 1))
		args := []string{"vtop", source, "--notify", h.notices}
		var want []string
		for range 1000 {
			m := &all[rng.IntN(len(all))]
			va := m.va() + rng.Uint64N(m.end()-m.va())
			args = append(args, fmt.Sprintf("%#x", va))
			want = append(want, fmt.Sprintf("%#x", h.gva2gpa(t, va)))
		}
		var got []string
		for line := range strings.Lines(run(t, args...).Stdout) {
			if rest, ok := strings.CutPrefix(line, "  phys  "); ok {
				pa, _, _ := strings.Cut(rest, ",")
				got = append(got, pa)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-QEMU +physgdb):\n%s", diff)
		}
	})
}

// TestEveryMapping enumerates a whole address space through the adapter in at most 3 s.
func TestEveryMapping(t *testing.T) {
	on(t, func(t *testing.T, h *host) {
		_, notes, took := mappings(t, adapter(t, h), "--notify", h.notices)
		if took > 3*time.Second || !strings.Contains(notes, " reads in ") {
			t.Errorf("took %v: %s", took, notes)
		}
		t.Logf("%v: %s", took, strings.TrimSpace(notes))
	})
}

// TestBadLinks checks for the same list over a link that loses, duplicates and reorders datagrams.
func TestBadLinks(t *testing.T) {
	h := hosts[3].ready(t)
	good, _, _ := mappings(t, h.guest.Source(), "--notify", h.notices)
	for _, link := range [][]string{
		{"--loss", "0.01"}, {"--loss", "0.1"}, {"--dup", "0.2"}, {"--reorder", "0.2"},
		{"--loss", "0.05", "--dup", "0.05", "--reorder", "0.05", "--delay", "100us"},
	} {
		t.Run(strings.Join(link, " "), func(t *testing.T) {
			bad, notes, took := mappings(t, adapter(t, h, link...), "--notify", h.notices)
			if diff := cmp.Diff(good, bad); diff != "" {
				t.Errorf("(-file +adapter):\n%s", diff)
			}
			t.Logf("%v: %s", took, strings.TrimSpace(notes))
		})
	}
	t.Run("silent", func(t *testing.T) {
		r, err := physgdb.Run(limited(t, time30s), "maps", adapter(t, h, "--loss", "1"), "--notify", h.notices)
		if err != nil || r.Status != 1 || r.Stdout != "" || r.Elapsed > 4*time.Second || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("status %d after %v, %v, stdout %q, stderr %q", r.Status, r.Elapsed, err, r.Stdout, r.Stderr)
		}
	})
	t.Run("gone", func(t *testing.T) {
		r, err := physgdb.Run(limited(t, time30s), "maps", "nettlp://127.88.255.1?local=127.88.255.2", "--notify", h.notices)
		if err != nil || r.Status != 1 || r.Elapsed > 4*time.Second || !strings.Contains(r.Stderr, "127.88.255.1") {
			t.Errorf("status %d after %v, %v, stderr %q", r.Status, r.Elapsed, err, r.Stderr)
		}
	})
}
