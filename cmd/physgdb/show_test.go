package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/bridge"
	"physgdb/test/memimage"
)

// is compares text with a golden one, in which $DIR is the machine's directory.
func (h *deadHost) is(t *testing.T, got, golden string) {
	t.Helper()
	want := strings.ReplaceAll(strings.TrimPrefix(golden, "\n"), "$DIR", h.dir)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestInfo(t *testing.T) {
	h := newHost(t)
	notices := h.file(t, "notices", h.hello("clock")+h.death())
	r := physgdb(t, h.words("info RAM --vmlinux VMLINUX --notify "+notices)...)
	r.want(t, exitDone, "")
	h.is(t, r.out, `
source     file:$DIR/ram
RAM map    0x0-0x17fffff (all of the source)
host       db7
died of    panicked: tests; task init, pid 1
kernel     Linux version 6.1 (test)
build-id   cafebabe
symbols    12, from $DIR/vmlinux, whose build-id is that in memory
found by   CR3, in 3 bridge reads (12 KiB); reads in place, in a mapped file, are not counted
CR3        0x100000, 4-level paging
_text      0xffffffff9d000000, at phys 0x400000
slide      0x1c000000
phys_base  -0x1cc00000
CPUs       2 (panicked), 0, 69
`)
	if !strings.HasPrefix(r.errors, "bridge: ") {
		t.Errorf("stderr %q, want what it cost", r.errors)
	}
}

func TestInfoWithLittleKnown(t *testing.T) {
	h := newHost(t)
	r := physgdb(t, h.words("info RAM --cr3 CR3")...)
	if r.status != exitFailed || !strings.Contains(r.errors, "\nphysgdb: the kernel's symbols are not known: ") {
		t.Errorf("status %d, stderr %q", r.status, r.errors)
	}
	h.is(t, r.out, `
source     file:$DIR/ram
RAM map    0x0-0x17fffff (all of the source)
symbols    none: kallsyms: no token table was found (the kernel has no CONFIG_KALLSYMS, or memory is damaged); and no vmlinux was found; give --vmlinux FILE
found by   CR3, in 3 bridge reads (12 KiB); reads in place, in a mapped file, are not counted
CR3        0x100000, 4-level paging
_text      0xffffffff9d000000, at phys 0x400000
slide      0x1c000000, if the kernel was linked where most are
phys_base  -0x1cc00000
CPUs       0, others not known
`)
}

// TestInfoOfAMachineThatSaidNothing has no notice and no CR3; what the kernel left in low memory
// leads to it.
func TestInfoOfAMachineThatSaidNothing(t *testing.T) {
	h := newHost(t)
	h.AddTrampoline(0x9c000)
	h.AddResources(memimage.Resource{Start: 0x1000, Last: 0x9fbff, Name: "System RAM"},
		memimage.Resource{Start: 0x100000, Last: 0x17fffff, Name: "System RAM"})
	must(t, h.Kernel.WriteFile(h.ram))
	must(t, h.WriteTypedVmlinux(h.vmlinux))
	r := physgdb(t, h.words("info RAM --vmlinux VMLINUX")...)
	r.want(t, exitDone, "")
	h.is(t, r.out, `
source     file:$DIR/ram
RAM map    0x1000-0x9fbff, 0x100000-0x17fffff (by the kernel's own list)
kernel     Linux version 6.1 (test)
build-id   cafebabe
symbols    12, from $DIR/vmlinux, whose build-id is that in memory
found by   real-mode trampoline, in 22 bridge reads (24.4 KiB); reads in place, in a mapped file, are not counted
CR3        0x1602000, 4-level paging
_text      0xffffffff9d000000, at phys 0x400000
slide      0x1c000000
phys_base  -0x1cc00000
CPUs       0, 2, 69
`)
	if !strings.HasPrefix(r.errors, "bridge: ") || strings.Contains(r.errors, "\n\n") {
		t.Errorf("stderr %q, want what it cost", r.errors)
	}
}

func TestVtop(t *testing.T) {
	h := newHost(t)
	r := physgdb(t, h.words("vtop RAM --cr3 CR3 --vmlinux VMLINUX panic+16 0x400123")...)
	r.want(t, exitDone, "")
	h.is(t, r.out, `
0xffffffff9d001010 panic+0x10/0x200
  CR3   0x100000
  PML4  entry 511 at phys 0x100ff8     = 0x0000000000102007
  PDPT  entry 510 at phys 0x102ff0     = 0x0000000000103007
  PD    entry 232 at phys 0x103740     = 0x0000000000400081
  phys  0x401010, in a page of 2 MiB, r-xk
0x400123
  CR3   0x100000
  PML4  entry   0 at phys 0x100000     = 0x8000000000105007
  PDPT  entry   0 at phys 0x105000     = 0x0000000000106007
  PD    entry   2 at phys 0x106010     = 0x0000000000107007
  PT    entry   0 at phys 0x107000     = 0x0000000000104005
  phys  0x104123, in a page of 4 KiB, r-xu
`)
}

func TestVtopOfWhatIsNotMapped(t *testing.T) {
	h := newHost(t)
	r := physgdb(t, h.words("vtop RAM --cr3 CR3 0x401000 0x400000 0x800000000000")...)
	r.want(t, exitFailed, "not translated: 2 of 3")
	h.is(t, r.out, `
0x401000
  CR3   0x100000
  PML4  entry   0 at phys 0x100000     = 0x8000000000105007
  PDPT  entry   0 at phys 0x105000     = 0x0000000000106007
  PD    entry   2 at phys 0x106010     = 0x0000000000107007
  PT    entry   1 at phys 0x107008     = 0x0000000000000000
  0x401000: PT entry 1 (at phys 0x107008) not present
0x400000
  CR3   0x100000
  PML4  entry   0 at phys 0x100000     = 0x8000000000105007
  PDPT  entry   0 at phys 0x105000     = 0x0000000000106007
  PD    entry   2 at phys 0x106010     = 0x0000000000107007
  PT    entry   0 at phys 0x107000     = 0x0000000000104005
  phys  0x104000, in a page of 4 KiB, r-xu
0x800000000000
  CR3   0x100000
  0x800000000000: non-canonical address
`)
}

func TestRead(t *testing.T) {
	h := newHost(t)
	r := physgdb(t, h.words("read RAM --cr3 CR3 --vmlinux VMLINUX linux_banner 0x1b")...)
	r.want(t, exitDone, "")
	h.is(t, r.out, `
0xffffffff9e000000  4c 69 6e 75 78 20 76 65  72 73 69 6f 6e 20 36 2e  |Linux version 6.|
0xffffffff9e000010  31 20 28 74 65 73 74 29  0a 00 00                 |1 (test)...|
`)
}

func TestReadAtANamedProcess(t *testing.T) {
	h := newHost(t)
	notices := h.file(t, "notices", h.hello("clock")+h.death())
	r := physgdb(t, h.words("read RAM 0x400000 4 --cr3 hello:clock --notify "+notices)...)
	r.want(t, exitDone, "")
	if !strings.Contains(r.out, "|tick|") {
		t.Errorf("%s: not the memory of clock", r.out)
	}
}

func TestReadNothing(t *testing.T) {
	h := newHost(t)
	r := physgdb(t, h.words("read RAM --cr3 CR3 0x400000 0")...)
	r.want(t, exitDone, "")
	h.is(t, r.out, "")
}

func TestReadUpToAHole(t *testing.T) {
	h := newHost(t)
	h.cr3 = fmt.Sprintf("%#x", h.AddProcess(strings.Repeat(" ", 0xfe8)+"the last 24 bytes there."))
	must(t, h.Kernel.WriteFile(h.ram))
	r := physgdb(t, h.words("read RAM --cr3 CR3 0x400fe8 0x2000")...)
	r.want(t, exitFailed, "24 of 8192 bytes: read 8168 bytes at 0x401000: ")
	r.want(t, exitFailed, "PT entry 1 ")
	h.is(t, r.out, `
0x0000000000400fe8  74 68 65 20 6c 61 73 74  20 32 34 20 62 79 74 65  |the last 24 byte|
0x0000000000400ff8  73 20 74 68 65 72 65 2e                           |s there.|
`)
	path := filepath.Join(h.dir, "bytes")
	physgdb(t, h.words("read RAM --cr3 CR3 0x400fe8 0x2000 -o "+path)...).want(t, exitFailed, "24 of 8192 bytes")
	h.holds(t, path, "the last 24 bytes there.")
}

// TestFilesOfMemoryArePrivate has a umask that lets all read, and files that all can read where
// memory goes.
func TestFilesOfMemoryArePrivate(t *testing.T) {
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	h := newHost(t)
	for _, name := range []string{"new", "old"} {
		path := filepath.Join(h.dir, name)
		if name == "old" {
			must(t, os.WriteFile(path, []byte("of another"), 0o666))
		}
		physgdb(t, h.words("read RAM --cr3 CR3 --vmlinux VMLINUX linux_banner 25 -o "+path)...).want(t, exitDone, "")
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode() != 0o600 || info.Size() != 25 {
			t.Errorf("%s: mode %v, %d bytes", name, info.Mode(), info.Size())
		}
	}
	physgdb(t, h.words("read RAM --cr3 CR3 --vmlinux VMLINUX linux_banner 25 -o "+h.dir+"/none/x")...).want(t, exitFailed,
		"write "+h.dir+"/none/x: no such file or directory")
}

func TestAdapterBeyondLoopbackWarns(t *testing.T) {
	h := newHost(t)
	for listen, warns := range map[string]bool{"127.0.0.9": false, "0.0.0.0": true} {
		p := start(t, h.words("adapter RAM --port 21234 --listen "+listen)...)
		await(t, &p.out, "physgdb: adapter at "+listen)
		r := p.stop(t)
		if strings.Contains(r.errors, "WARNING: EVERY CLIENT THAT CAN CONNECT TO "+listen+":21234 CAN") != warns {
			t.Errorf("%s: stderr %q, want a warning: %v", listen, r.errors, warns)
		}
	}
}

func (h *deadHost) holds(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestReadToAFile(t *testing.T) {
	h := newHost(t)
	path := filepath.Join(h.dir, "bytes")
	r := physgdb(t, h.words("read RAM --cr3 CR3 --vmlinux VMLINUX linux_banner 25 -o "+path)...)
	r.want(t, exitDone, "")
	h.is(t, r.out, "")
	h.holds(t, path, memimage.Banner)
	r = physgdb(t, h.words("read RAM --cr3 CR3 0x400000 4 -o DIR/nowhere/bytes")...)
	r.want(t, exitFailed, "nowhere/bytes: no such")
}

func TestReadPhysical(t *testing.T) {
	h := newHost(t)
	banner := fmt.Sprintf("%#x", 4<<20+8*2<<20)
	end := fmt.Sprintf("%#x", len(h.RAM)-4)
	hole := h.file(t, "iomem", fmt.Sprintf("00000000-%08x : System RAM\n", 4<<20+8*2<<20+7))
	for _, tc := range []struct {
		name, line string
		status     int
		bytes      string // in the dump
		err        string
	}{
		{"all of it", banner + " 16", exitDone, "|Linux version 6.|", ""},
		{"up to the end of the file", end + " 16", exitFailed, "|....|",
			"4 of 16 bytes: read 12 bytes at phys 0x1800000: not RAM"},
		{"up to a hole of the RAM map", banner + " 16 --ram " + hole, exitFailed, "|Linux ve|", "8 of 16 bytes: "},
		{"outside the RAM map", "0x1500000 16 --ram " + hole, exitFailed, "", "not RAM"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := physgdb(t, h.words("read RAM --phys "+tc.line)...)
			r.want(t, tc.status, tc.err)
			if !strings.Contains(r.out, tc.bytes) || tc.bytes == "" && r.out != "" {
				t.Errorf("dump %q, want %q", r.out, tc.bytes)
			}
		})
	}
}

func TestMaps(t *testing.T) {
	h := newHost(t)
	r := physgdb(t, h.words("maps RAM --cr3 CR3")...)
	r.want(t, exitDone, "")
	h.is(t, r.out, `
              FROM TO                      PHYSICAL  PAGE   RIGHTS  INDEX
          0x400000-0x401000                0x104000  4 KiB  r-xu    0/0/2/0
0xffffffff9d000000-0xffffffff9e200000      0x400000  2 MiB  r-xk    511/510/232
0xffffffff9e200000-0xffffffff9e400000     0x1600000  2 MiB  rw-k    511/510/241
`)
	if want := "physgdb: maps: 11 pages in 3 lines; bridge: "; !strings.HasPrefix(r.errors, want) {
		t.Errorf("stderr %q, want %q", r.errors, want)
	}
}

func TestMapsSelects(t *testing.T) {
	h := newHost(t)
	narrow := h.file(t, "narrow", "0-13fffff\n")
	for _, tc := range []struct {
		name, line string
		lines      int
		has        string
	}{
		{"user space", "--user", 1, "r-xu"},
		{"the kernel", "--kernel", 2, "rw-k"},
		{"every page", "--all", 11, "511/510/239"},
		{"every page of the kernel", "--all --kernel", 10, "511/510/239"},
		{"a root by its word", "kernel --kernel", 2, "rw-k"},
		{"what is not RAM", "--ram " + narrow, 3, "not RAM"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := physgdb(t, h.words("maps RAM --cr3 CR3 "+tc.line)...)
			r.want(t, exitDone, "")
			if strings.Count(r.out, "\n") != 1+tc.lines || !strings.Contains(r.out, tc.has) {
				t.Errorf("want a title and %d lines, with %q:\n%s", tc.lines, tc.has, r.out)
			}
		})
	}
}

func TestMapsAsJSON(t *testing.T) {
	h := newHost(t)
	r := physgdb(t, h.words("maps RAM --cr3 CR3 --json --all")...)
	r.want(t, exitDone, "")
	last := uint64(0)
	for text := range strings.Lines(r.out) {
		line := map[string]any{}
		must(t, json.Unmarshal([]byte(text), &line))
		var va, end, pa uint64
		for key, v := range map[string]*uint64{"va": &va, "end": &end, "pa": &pa} {
			if _, err := fmt.Sscanf(fmt.Sprint(line[key]), "0x%x", v); err != nil {
				t.Errorf("%s: %s: %v", text, key, err)
			}
		}
		path, _ := line["path"].([]any)
		if end-va != uint64(line["page"].(float64)) || va < last || len(path) < 3 || line["ram"] != true ||
			len(line["flags"].(string)) != 4 || len(line) != 7 || pa == 0 {
			t.Errorf("%s", text)
		}
		last = end
	}
	if n := strings.Count(r.out, "\n"); n != 11 {
		t.Errorf("%d lines, want 11", n)
	}
}

func TestMapsAtTheTopOfTheAddressSpace(t *testing.T) {
	h := newHost(t)
	h.Map(h.top(), h.Levels, 1, 0xfffffffffffff000, 0x5000, memimage.NX)
	must(t, h.Kernel.WriteFile(h.ram))
	r := physgdb(t, h.words("maps RAM --cr3 CR3 --json --kernel")...)
	r.want(t, exitDone, "")
	if !strings.Contains(r.out, `"end":"0x10000000000000000"`) {
		t.Errorf("no end of the last page in\n%s", r.out)
	}
	physgdb(t, h.words("read RAM --cr3 CR3 0xfffffffffffff000 0x1000 -o DIR/top")...).want(t, exitDone, "")
}

func TestMapsOfDamagedTables(t *testing.T) {
	h := newHost(t)
	for i := range uint64(3) { // tables outside RAM
		h.Put64(h.Entry(h.top(), h.Levels, 3, 0x10000000000+i<<30), 0xdead0000|memimage.Present|memimage.User)
	}
	must(t, h.Kernel.WriteFile(h.ram))
	r := physgdb(t, h.words("maps RAM --cr3 CR3")...)
	if r.status != exitFailed || strings.Count(r.out, "\n") != 1+3 {
		t.Errorf("status %d, want %d and what can be listed:\n%s", r.status, exitFailed, r.out)
	}
	lines := strings.Split(r.errors, "\n")
	if len(lines) != 6 || !strings.Contains(lines[2], "PDPT entry 2") ||
		!strings.Contains(lines[4], "cannot be followed: 3,") {
		t.Errorf("stderr:\n%s", r.errors)
	}
}

func (h *deadHost) top() bridge.PhysAddr { return bridge.PhysAddr(h.CR3) }

func TestRefusals(t *testing.T) {
	h := newHost(t)
	h.file(t, "iomem", "80000000-8fffffff : System RAM\n")
	h.file(t, "zero", "00000000-00000000 : System RAM\n")
	h.file(t, "words", "RAM is everywhere\n")
	h.file(t, "lost", h.hello("clock"))
	h.file(t, "found", h.hello("clock")+h.death())
	must(t, h.WriteVmlinux(filepath.Join(h.dir, "other"), "\xde\xad"))
	must(t, memimage.WriteELF(filepath.Join(h.dir, "program"), []memimage.Symbol{{Name: "main", Link: 0x401000}}, "\x01"))
	for _, tc := range []struct{ name, line, want string }{
		{"a path that does not exist", "info /nowhere --cr3 CR3",
			"source /nowhere: no such file; want a path, or a URL such as nettlp:"},
		{"an address for a path", "info 192.168.10.1 --cr3 CR3", "source 192.168.10.1: no such file; want a path, or a URL"},
		{"a folder", "info DIR --cr3 CR3", "not a regular file"},
		{"an unknown kind of source", "info gopher://x --cr3 CR3", `unknown scheme "gopher"; known are file, nettlp`},
		{"another CR3", "info RAM --cr3 0x5000", "CR3 0x5000 maps no kernel: "},
		{"nothing that leads to a kernel", "info RAM", "; try --vmlinux FILE; or --cr3 HEX, of any task of the target"},
		{"a note that is none", "info RAM --vmcoreinfo 0x5000", "VMCOREINFO at phys 0x5000: no VMCOREINFO"},
		{"a CR3 beyond RAM", "info RAM --cr3 0x7fff0000", "is it the CR3 of this machine, and of this boot?"},
		{"a folder of vmlinuxes that is not there", "info RAM --cr3 CR3 --debug-dir DIR/none", "--debug-dir DIR/none: no such file"},
		{"a vmlinux of another build", "info RAM --cr3 CR3 --vmlinux DIR/other",
			"build-id is dead, memory has cafebabe; get the vmlinux"},
		{"a program for a vmlinux", "info RAM --cr3 CR3 --vmlinux DIR/program", "of another kernel, or of none: it has no symbol _text"},
		{"a vmlinux that is not there", "info RAM --cr3 CR3 --vmlinux DIR/none", "--vmlinux DIR/none: no such file"},
		{"no ELF file", "info RAM --cr3 CR3 --vmlinux DIR/words", "--vmlinux DIR/words: not an ELF file (a vmlinuz is not one"},
		{"a RAM map that lies outside the file", "info RAM --cr3 CR3 --ram DIR/iomem", "is it the map of this machine?"},
		{"a RAM map that is not there", "info RAM --cr3 CR3 --ram DIR/none", "--ram DIR/none: no such file"},
		{"a RAM map read by a user", "info RAM --cr3 CR3 --ram DIR/zero", "shows them to root only"},
		{"words for a RAM map", "info RAM --cr3 CR3 --ram DIR/words", "--ram DIR/words: line 1: "},
		{"notices that are not there", "info RAM --notify 127.0.0.1:6666", "--notify udp://ADDRESS:PORT"},
		{"notices from nowhere", "info RAM --notify tcp://127.0.0.1:6666", "not an address such as udp://127.0.0.1:6666"},
		{"notices, none of a panic", "info RAM --notify DIR/lost", "--notify DIR/lost: has no notice of a panic"},
		{"an unknown program", "info RAM --notify DIR/found --cr3 hello:cron",
			`no program named "cron" has sent its CR3; known are clock`},
		{"an adapter at another's address", "adapter RAM --listen 192.0.2.1", "192.0.2.1 is not one of this machine's"},
		{"notices for another's address", "notify --listen udp://192.0.2.1:1", "cannot assign requested address; want an address of this machine"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := strings.ReplaceAll(tc.want, "DIR", h.dir)
			physgdb(t, h.words(tc.line)...).want(t, exitFailed, want)
		})
	}
}
