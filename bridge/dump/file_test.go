package dump_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
	"physgdb/bridge/dump"
)

var ctx = context.Background()

// openSource opens a source as a command does.
func openSource(source string) (bridge.Memory, error) {
	return bridge.Open(ctx, source, map[string]bridge.Opener{"file": dump.Open}, nil)
}

func writeFile(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ram")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, source string) bridge.Memory {
	t.Helper()
	m, err := openSource(source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestFilePassesTheSuite(t *testing.T) {
	bridgetest.Run(t, func(t *testing.T, ram []byte) bridge.Memory { return open(t, writeFile(t, ram)) })
}

func TestSplitFile(t *testing.T) {
	m := open(t, "file:"+writeFile(t, []byte("lowlowHIGH"))+"?map=0x100:6:0,0x100000000:4:6")
	if got, want := m.Info().RAM.String(), "0x100-0x105, 0x100000000-0x100000003"; got != want {
		t.Errorf("RAM map %s, want %s", got, want)
	}
	for addr, want := range map[bridge.PhysAddr]string{0x103: "low", 0x100000000: "HIGH"} {
		p := make([]byte, len(want))
		if _, err := bridge.Read(ctx, m, addr, p, false); err != nil || string(p) != want {
			t.Errorf("%#x: %q, %v; want %q", uint64(addr), p, err, want)
		}
	}
	if n, err := bridge.Read(ctx, m, 0x104, make([]byte, 4), false); n != 2 || !errors.Is(err, bridge.ErrNotRAM) {
		t.Errorf("into the hole: %d bytes, %v", n, err)
	}
	if _, ok := m.(bridge.Viewer).View(0x104, 4); ok {
		t.Error("a view reaches into the hole")
	}
}

// TestSeveralFiles has the parts of a map begin and end within files, and at their ends.
func TestSeveralFiles(t *testing.T) {
	source := "file:" + writeFile(t, []byte("aaaabbbb")) + "?file=" + writeFile(t, []byte("cccc")) + "&file=" +
		writeFile(t, []byte("ddddeeee"))
	for _, tc := range []struct{ layout, ram, want string }{
		{"", "0x0-0x13", "aaaabbbbccccddddeeee"},
		{"&map=0:12:0,0x1000:8:12", "0x0-0xb, 0x1000-0x1007", "aaaabbbbccccddddeeee"},
		{"&map=0:10:0,0x100:10:10", "0x0-0x9, 0x100-0x109", "aaaabbbbccccddddeeee"},
		{"&map=0x10:14:4", "0x10-0x1d", "bbbbccccddddee"},
		{"&map=0x10:4:16,0x20:4:0", "0x10-0x13, 0x20-0x23", "eeeeaaaa"},
	} {
		t.Run(tc.layout, func(t *testing.T) {
			m := open(t, source+tc.layout)
			ram := m.Info().RAM
			if ram.String() != tc.ram {
				t.Errorf("RAM map %v, want %s", ram, tc.ram)
			}
			got := ""
			for _, r := range ram {
				p := make([]byte, r.Size())
				if _, err := bridge.Read(ctx, m, r.Start, p, false); err != nil {
					t.Error(err)
				}
				got += string(p)
			}
			if got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
			if data := bridge.DataOf(m); data.String() != tc.ram {
				t.Errorf("data in %v, want %s", data, tc.ram)
			}
		})
	}
}

func TestHolesAreKnown(t *testing.T) {
	const size, mib = 64 << 20, 1 << 20
	path := filepath.Join(t.TempDir(), "ram")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 8 * mib, 9 * mib, 40 * mib} {
		if _, err := f.WriteAt(make([]byte, 4096), at); err != nil {
			t.Fatal(err)
		}
	}
	m := open(t, "file:"+path+"?map=0:0x1000000:0,0x100000000:0x3000000:0x1000000")
	g := bridge.NewGuard(bridge.NewMeter(m), bridge.RAMMap{{Start: 0, End: 0x100000000 + 32*mib}})
	for _, mem := range []bridge.Memory{m, g} {
		data := bridge.DataOf(mem)
		if data.Size() > 2*mib { // what a file system hands out at once is its own affair
			t.Skipf("%v: this file system keeps no holes", data)
		}
		for _, want := range []bridge.PhysAddr{0, 8 * mib, 9 * mib, 0x100000000 + 24*mib} {
			if !data.Contains(want, 4096) {
				t.Errorf("no data at %#x in %v", uint64(want), data)
			}
		}
	}
	narrow := bridge.NewGuard(m, bridge.RAMMap{{Start: 0x100000000, End: 0x100001000}})
	if data := bridge.DataOf(narrow); data.Size() > 4096 {
		t.Errorf("data through a guard: %v", data)
	}
	if data := bridge.DataOf(bridgetest.NewFake(make([]byte, 16))); data.String() != "0x0-0xf" {
		t.Errorf("data of a memory without Sparse: %v", data)
	}
}

func TestASourceIsLaidAgain(t *testing.T) {
	m := open(t, "file:"+writeFile(t, []byte("lowHIGH"))).(bridge.Unlaid)
	if size, ok := m.Layout(); size != 7 || !ok {
		t.Errorf("%d bytes, %v", size, ok)
	}
	laid, err := m.Lay("0:3:0,0x100:4:3")
	if err != nil {
		t.Fatal(err)
	}
	defer laid.Close()
	p := make([]byte, 4)
	if _, err := bridge.Read(ctx, laid, 0x100, p, false); err != nil || string(p) != "HIGH" {
		t.Errorf("%q, %v", p, err)
	}
	if _, ok := laid.(bridge.Unlaid).Layout(); ok {
		t.Error("a map was given")
	}
}

func TestAFileThatIsCutShort(t *testing.T) {
	const size, left = 64 << 10, 12 << 10
	path := writeFile(t, []byte(strings.Repeat("ram!", size/4)))
	m := open(t, path)
	view, ok := m.(bridge.Viewer).View(0, size)
	if !ok {
		t.Fatal("it cannot be seen in place")
	}
	if err := os.Truncate(path, left); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, size)
	n, err := bridge.Read(ctx, m, 4, p, false)
	if n != left-4 || !errors.Is(err, bridge.ErrGone) || string(p[:n]) != strings.Repeat("ram!", n/4) {
		t.Errorf("%d bytes, %v; want the %d that are left", n, err, left-4)
	}
	sum := 0
	look := func() {
		for _, b := range view {
			sum += int(b)
		}
	}
	if err := bridge.InPlace(look); !errors.Is(err, bridge.ErrGone) || sum != left/4*('r'+'a'+'m'+'!') {
		t.Errorf("in place: %v, and a sum of %d", err, sum)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	if err := bridge.InPlace(look); err != nil {
		t.Errorf("the file is whole again: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	ram := writeFile(t, make([]byte, 16))
	for _, tc := range []struct{ name, source, want string }{
		{"no such file", "file:/nowhere", "no such file"},
		{"a directory", t.TempDir(), "not a regular file"},
		{"an empty file", writeFile(t, nil), "empty"},
		{"an unknown scheme", "rocket://x", `unknown scheme "rocket"; known are file`},
		{"an unknown key", "file:" + ram + "?maps=1", `unknown key "maps"`},
		{"a second file that is not there", "file:" + ram + "?file=/nowhere", "/nowhere: open /nowhere: no such file"},
		{"a second file that is empty", "file:" + ram + "?file=" + writeFile(t, nil), "empty"},
		{"a map past the end of two", "file:" + ram + "?file=" + ram + "&map=0:33:0", "past the end of the file (32 bytes)"},
		{"a map past the end", "file:" + ram + "?map=0:17:0", "past the end of the file (16 bytes)"},
		{"a map that wraps", "file:" + ram + "?map=0xffffffffffffffff:2:0", "does not fit"},
		{"a map with an overlap", "file:" + ram + "?map=0:8:0,4:8:8", "overlap"},
		{"a map without an offset", "file:" + ram + "?map=0:8", "PA:SIZE:OFFSET"},
		{"a map with a word", "file:" + ram + "?map=0:x:0", "not a number"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := openSource(tc.source)
			if err == nil {
				m.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v; want %q in it", err, tc.want)
			}
		})
	}
}

// TestWhereRAMLiesInADumpCanBeSaid: whatever the dump begins with.
func TestWhereRAMLiesInADumpCanBeSaid(t *testing.T) {
	m, err := openSource("file:" + writeFile(t, []byte("\x7fELFsomeRAM")) + "?map=0x1000:7:4")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var p [7]byte
	if n, err := bridge.Read(ctx, m, 0x1000, p[:], false); string(p[:]) != "someRAM" || err != nil {
		t.Errorf("%d bytes, %q, %v", n, p, err)
	}
}
