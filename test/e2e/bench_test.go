package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"physgdb/test/session"
)

// BenchmarkServeStart measures the start of physgdb serve with the largest vmlinux. Goal: 0.15 s
// and 120 MB of memory.
func BenchmarkServeStart(b *testing.B) {
	h := hosts[0].ready(b)
	var peak int64 // KiB
	for b.Loop() {
		s, _, err := physgdb.Serve(limited(b, time30s), h.guest.Source(), "--notify", h.notices,
			"--vmlinux", h.guest.Kernel.Vmlinux)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Stop(); err != nil {
			b.Fatal(err)
		}
		peak = max(peak, s.Usage().SysUsage().(*syscall.Rusage).Maxrss)
	}
	b.ReportMetric(float64(peak)/1024, "peak-MiB")
}

// dumpSize is the size of the memory that gdb dumps or searches, in bytes.
const dumpSize = 64 << 20

// BenchmarkDump measures gdb's "dump binary memory" of the kernel's direct map and of its code,
// with physgdb and with others: a stub that answers from memory at once, which is the limit of gdb
// without run-length encoding, QEMU's own stub on the same guest, and a gdbserver whose program
// contains the same bytes. Goal: 0.95 times the first from a file, 0.9 times over NetTLP.
func BenchmarkDump(b *testing.B) {
	h := hosts[0].ready(b)
	for _, r := range []struct {
		name       string
		addr, size uint64
	}{
		{"memory=ram", linearMapping(b, h, dumpSize), dumpSize},
		{"memory=code", h.slide(b) + symbolOf(b, h, "_text"), 12 << 20},
	} {
		content := filepath.Join(b.TempDir(), "content")
		run(b, "read", h.guest.Source(), "--notify", h.notices, fmt.Sprintf("%#x", r.addr), fmt.Sprint(r.size), "-o", content)
		for _, p := range peers {
			b.Run(r.name+"/"+p.name, func(b *testing.B) {
				out := filepath.Join(b.TempDir(), "dump")
				var seconds float64 // of the command itself, without the start of gdb
				for b.Loop() {
					address, base := p.serve(b, h, content, r.addr) // a new one each time, because it caches what it has read
					dump := fmt.Sprintf("dump binary memory %s %#x %#x", out, base, base+r.size)
					seconds += lastStep(b, gdb(b, "", address, dump), "")
				}
				same(b, out, content)
				b.ReportMetric(seconds*1e9/float64(b.N), "ns/op")
				b.ReportMetric(float64(r.size)/1e6*float64(b.N)/seconds, "MB/s")
			})
		}
	}
}

// BenchmarkFind measures gdb's "find" over 64 MiB of kernel memory, with physgdb, which searches by
// itself, and with QEMU's stub, from which gdb reads all of it.
func BenchmarkFind(b *testing.B) {
	h := hosts[0].ready(b)
	base := linearMapping(b, h, dumpSize)
	content := filepath.Join(b.TempDir(), "content")
	run(b, "read", h.guest.Source(), "--notify", h.notices, fmt.Sprintf("%#x", base), fmt.Sprint(dumpSize), "-o", content)
	end, word := lastWord(b, content)
	for _, want := range []struct {
		name    string
		pattern uint64
		shows   string
	}{
		{"pattern=absent", 0x7c3a_91e6_5d0b_f842, "Pattern not found."},
		{"pattern=at-end", word, fmt.Sprintf("%#x", base+end)},
	} {
		for _, p := range peers {
			if p.name != "what=physgdb-file" && p.name != "what=qemu" {
				continue
			}
			b.Run(want.name+"/"+p.name, func(b *testing.B) {
				address, _ := p.serve(b, h, content, base)
				find := fmt.Sprintf("find /g %#x, +%#x, %#x", base, dumpSize, want.pattern)
				var seconds float64
				for b.Loop() {
					seconds += lastStep(b, gdb(b, "", address, find), want.shows)
				}
				b.ReportMetric(seconds*1e9/float64(b.N), "ns/op")
				b.ReportMetric(dumpSize/1e6*float64(b.N)/seconds, "MB/s")
			})
		}
	}
}

// lastStep returns the time of gdb's last command, in seconds, and checks its output.
func lastStep(b *testing.B, steps []session.Step, want string) float64 {
	b.Helper()
	last := steps[len(steps)-1]
	if want == "" && last.Output != "" || !strings.HasPrefix(last.Output, want) {
		b.Fatalf("%s: %q, want %q", last.Command, last.Output, want)
	}
	return last.Took.Seconds()
}

// same checks that two files are equal, except for the few bytes that an idle machine changes.
func same(b *testing.B, name, other string) {
	b.Helper()
	p, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	q, err := os.ReadFile(other)
	if err != nil {
		b.Fatal(err)
	}
	differ := 0
	for i := range min(len(p), len(q)) {
		if p[i] != q[i] {
			differ++
		}
	}
	if len(p) != len(q) || differ > len(p)/100 {
		b.Errorf("of %d bytes dumped, %d are wrong; want %d bytes", len(p), differ, len(q))
	}
}

// lastWord finds the last eight bytes of a file that occur only once.
func lastWord(b *testing.B, name string) (at, word uint64) {
	b.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	for i := len(data) - 8; i >= 0; i -= 8 {
		if w := data[i : i+8]; bytes.Index(data, w) == i {
			return uint64(i), binary.LittleEndian.Uint64(w)
		}
	}
	b.Fatal("no word is unique")
	return 0, 0
}

// symbolOf returns the link address of a kernel symbol.
func symbolOf(b *testing.B, h *host, name string) uint64 {
	b.Helper()
	s, ok := h.vmlinux.Lookup(name)
	if !ok {
		b.Fatal("no symbol ", name)
	}
	return s.Addr
}

// linearMapping returns the address of a kernel range that maps size contiguous bytes of RAM.
func linearMapping(b *testing.B, h *host, size uint64) uint64 {
	b.Helper()
	r := run(b, "maps", h.guest.Source(), "--notify", h.notices, "--kernel")
	for line := range strings.Lines(r.Stdout) {
		span := strings.Fields(line)[0]
		first, last, _ := strings.Cut(span, "-")
		if number(last)-number(first) >= size {
			return number(first)
		}
	}
	b.Fatalf("no kernel range of %d bytes", size)
	return 0
}
