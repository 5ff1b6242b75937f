package bridge_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
)

var ctx = context.Background()

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
	m, err := bridge.Open(ctx, source, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestFilePassesTheSuite(t *testing.T) {
	bridgetest.Run(t, func(t *testing.T, ram []byte) bridge.Memory { return open(t, writeFile(t, ram)) })
}

func TestWrappersPassTheSuite(t *testing.T) {
	for name, wrap := range map[string]func(bridge.Memory) bridge.Memory{
		"guard":      func(m bridge.Memory) bridge.Memory { return bridge.NewGuard(m, nil) },
		"meter":      func(m bridge.Memory) bridge.Memory { return bridge.NewMeter(m) },
		"cache":      func(m bridge.Memory) bridge.Memory { return bridge.NewCache(m, 1<<20) },
		"tiny cache": func(m bridge.Memory) bridge.Memory { return bridge.NewCache(m, bridge.PageSize) },
		"all": func(m bridge.Memory) bridge.Memory {
			return bridge.NewCache(bridge.NewGuard(bridge.NewMeter(m), nil), 1<<20)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bridgetest.Run(t, func(t *testing.T, ram []byte) bridge.Memory { return wrap(bridgetest.NewFake(ram)) })
		})
	}
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

func TestInPlaceKeepsNoOtherPanic(t *testing.T) {
	for name, look := range map[string]func(){
		"of the program itself": func() { panic("mine") },
		"an index":              func() { _ = make([]byte, 1)[len(os.Args)+1] },
		"a nil pointer":         func() { _ = (*bridge.Op)(nil).Addr },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was kept")
				}
			}()
			t.Error(bridge.InPlace(look))
		})
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
			m, err := bridge.Open(ctx, tc.source, nil)
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
	m, err := bridge.Open(ctx, "file:"+writeFile(t, []byte("\x7fELFsomeRAM"))+"?map=0x1000:7:4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var p [7]byte
	if n, err := bridge.Read(ctx, m, 0x1000, p[:], false); string(p[:]) != "someRAM" || err != nil {
		t.Errorf("%d bytes, %q, %v", n, p, err)
	}
}

func TestParseRAMMap(t *testing.T) {
	for _, tc := range []struct{ name, text, want, err string }{
		{name: "an /proc/iomem listing", text: "00000000-00000fff : Reserved\n00001000-0009fbff : System RAM\n" +
			"000a0000-000bffff : PCI Bus 0000:00\n00100000-1ffdefff : System RAM\n  05000000-061fffff : Kernel code\n" +
			"1ffdf000-1fffffff : Reserved\n100000000-13fffffff : System RAM\n",
			want: "0x1000-0x9fbff, 0x100000-0x1ffdefff, 0x100000000-0x13fffffff"},
		{name: "plain lines", text: "# my host\n0x100000-0x1fffff\n\n200000-2fffff # more\n", want: "0x100000-0x2fffff"},
		{name: "ranges out of order", text: "5000-5fff\n1000-2fff\n2000-3fff\n", want: "0x1000-0x3fff, 0x5000-0x5fff"},
		{name: "seen by an ordinary user", text: "00000000-00000000 : System RAM\n", err: "root"},
		{name: "no RAM in it", text: "000a0000-000bffff : PCI Bus\n", err: "no RAM"},
		{name: "backwards", text: "2000-1000\n", err: "line 1"},
		{name: "not numbers", text: "1000-1fff\nabc-xyz\n", err: "line 2"},
		{name: "all of it", text: "0-ffffffffffffffff\n", err: "line 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := bridge.ParseRAMMap(strings.NewReader(tc.text))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q in it", err, tc.err)
				}
				return
			}
			if err != nil || m.String() != tc.want {
				t.Errorf("%v, %v; want %s", m, err, tc.want)
			}
		})
	}
}

func FuzzParseRAMMap(f *testing.F) {
	f.Add("00001000-0009fbff : System RAM\n")
	f.Add("1000-1fff\n0-0")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := bridge.ParseRAMMap(strings.NewReader(text))
		if err != nil {
			return
		}
		for i, r := range m {
			if r.Start >= r.End || i > 0 && m[i-1].End >= r.Start {
				t.Fatalf("ranges out of order: %v", m)
			}
		}
	})
}

func TestRAMMapPrefix(t *testing.T) {
	var many []bridge.Range
	for i := range bridge.PhysAddr(20) {
		many = append(many, bridge.Range{Start: 0x1000 + i*0x2000, End: 0x2000 + i*0x2000})
	}
	for _, m := range []bridge.RAMMap{bridge.NewRAMMap(many[:2]), bridge.NewRAMMap(many)} {
		for _, tc := range []struct {
			addr bridge.PhysAddr
			n    uint64
			want uint64
		}{{0, 8, 0}, {0xfff, 2, 0}, {0x1000, 8, 8}, {0x1ff8, 16, 8}, {0x2000, 1, 0}, {0x3000, 0x1000, 0x1000}, {0x100000, 1, 0}} {
			if got := m.Prefix(tc.addr, tc.n); got != tc.want {
				t.Errorf("%d ranges: Prefix(%#x, %d) = %d, want %d", len(m), uint64(tc.addr), tc.n, got, tc.want)
			}
		}
	}
}

// witness records what reaches the bridge.
type witness struct {
	bridge.Memory
	ram  bridge.RAMMap
	seen []string
}

func (w *witness) ReadPhys(ctx context.Context, ops []bridge.Op) error {
	for _, op := range ops {
		w.seen = append(w.seen, bridge.RAMMap{{Start: op.Addr, End: op.Addr + bridge.PhysAddr(len(op.Buf))}}.String())
	}
	return w.Memory.ReadPhys(ctx, ops)
}

func (w *witness) Info() bridge.Info { return bridge.Info{RAM: w.ram} }

func TestGuard(t *testing.T) {
	ram := bridge.NewRAMMap([]bridge.Range{{Start: 0x1000, End: 0x3000}, {Start: 0x200000, End: 0x201000}})
	for _, tc := range []struct {
		name  string
		ram   bridge.RAMMap
		addr  bridge.PhysAddr
		n     int
		named bool
		seen  []string
		err   error
	}{
		{"RAM by the map", ram, 0x1000, 8, false, []string{"0x1000-0x1007"}, nil},
		{"beyond the map, named", ram, 0x3000, 8, true, nil, bridge.ErrNotRAM},
		{"partly beyond the map", ram, 0x2ff8, 16, true, []string{"0x2ff8-0x2fff"}, bridge.ErrNotRAM},
		{"before the map", ram, 0xff8, 16, true, nil, bridge.ErrNotRAM},
		{"no map, named", nil, 0x1000, 8, true, []string{"0x1000-0x1007"}, nil},
		{"no map, not named", nil, 0x1000, 8, false, nil, bridge.ErrUnknownRAM},
		{"no map, video memory", nil, 0xa0000, 8, true, nil, bridge.ErrNotRAM},
		{"no map, up to the ROMs", nil, 0x9fff8, 16, true, nil, bridge.ErrNotRAM},
		{"round the end of the address space", nil, ^bridge.PhysAddr(3), 8, true, nil, bridge.ErrUnknownRAM},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := &witness{Memory: bridgetest.NewFake(make([]byte, 4<<20))}
			_, err := bridge.Read(ctx, bridge.NewGuard(w, tc.ram), tc.addr, make([]byte, tc.n), tc.named)
			if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
				t.Errorf("error %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(tc.seen, w.seen); diff != "" {
				t.Errorf("what reached the bridge (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGuardIsNarrowed(t *testing.T) {
	wide := bridge.NewRAMMap([]bridge.Range{{Start: 0x1000, End: 0x9000}})
	narrow := bridge.NewRAMMap([]bridge.Range{{Start: 0, End: 0x2000}, {Start: 0x8000, End: 0xf000}})
	elsewhere := bridge.NewRAMMap([]bridge.Range{{Start: 0xf000, End: 0x10000}})
	for _, tc := range []struct {
		name   string
		before bridge.RAMMap
		by     bridge.RAMMap
		want   string // the map that is then in force
		wrong  bool
	}{
		{"from a map", wide, narrow, "0x1000-0x1fff, 0x8000-0x8fff", false},
		{"from nothing known", nil, narrow, "0x0-0x1fff, 0x8000-0xefff", false},
		{"by nothing known", wide, nil, "0x1000-0x8fff", false},
		{"by a wider one", narrow, bridge.NewRAMMap([]bridge.Range{{Start: 0, End: 0x100000}}), narrow.String(), false},
		{"to nothing", wide, elsewhere, "0x1000-0x8fff", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := &viewable{witness{Memory: bridgetest.NewFake(make([]byte, 1<<20))}}
			g := bridge.NewGuard(w, tc.before)
			if err := g.Narrow(tc.by); (err != nil) != tc.wrong {
				t.Errorf("error %v", err)
			}
			if got := g.Info().RAM.String(); got != tc.want {
				t.Errorf("map %s, want %s", got, tc.want)
			}
			for page := bridge.PhysAddr(0); page < 0x11000; page += bridge.PageSize {
				allowed := g.Info().RAM.Contains(page, 8)
				_, err := bridge.Read(ctx, g, page, make([]byte, 8), true)
				_, seen := g.View(page, 8)
				if (err == nil) != allowed || seen != allowed {
					t.Errorf("%#x: read %v, viewed %v; by its own map %v", uint64(page), err, seen, allowed)
				}
			}
		})
	}
}

// viewable is a witness that shows zeros in place.
type viewable struct{ witness }

func (*viewable) View(_ bridge.PhysAddr, n int) ([]byte, bool) { return make([]byte, n), true }

// TestGuardIsNarrowedWhileInUse has readers at work while the map shrinks page by page: what was refused once stays so.
func TestGuardIsNarrowedWhileInUse(t *testing.T) {
	const pages = 64
	g := bridge.NewGuard(bridgetest.NewFake(make([]byte, pages*bridge.PageSize)), nil)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			end := bridge.PhysAddr(pages * bridge.PageSize)
			for end > bridge.PageSize {
				if _, err := bridge.Read(ctx, g, end-8, make([]byte, 8), true); err == nil {
					continue
				}
				if _, ok := g.View(end-8, 8); ok {
					t.Errorf("%#x is shown after it was refused", uint64(end-8))
				}
				end -= bridge.PageSize
			}
		})
	}
	for n := range bridge.PhysAddr(pages - 1) {
		// In any order, and each map twice.
		for range 2 {
			all.Go(func() {
				if err := g.Narrow(bridge.RAMMap{{End: (pages - 1 - n) * bridge.PageSize}}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	if got := g.Info().RAM.Size(); got != bridge.PageSize {
		t.Errorf("%d bytes are left, want one page", got)
	}
}

func TestGuardReadsWhatItMay(t *testing.T) {
	fake := bridgetest.NewFake([]byte("0123456789abcdef"))
	g := bridge.NewGuard(fake, bridge.NewRAMMap([]bridge.Range{{Start: 2, End: 8}}))
	ops := []bridge.Op{
		{Addr: 2, Buf: make([]byte, 3)},
		{Addr: 0, Buf: make([]byte, 3)},
		{Addr: 6, Buf: make([]byte, 4)},
	}
	if err := g.ReadPhys(ctx, ops); err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range ops {
		got = append(got, string(ops[i].Buf[:ops[i].Good()]))
	}
	if diff := cmp.Diff([]string{"234", "", "67"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if fake.Counts().Batches != 1 {
		t.Errorf("%d batches, want 1", fake.Counts().Batches)
	}
}

func TestCacheAsksOnce(t *testing.T) {
	fake := bridgetest.NewFake(make([]byte, 64<<10))
	c := bridge.NewCache(fake, 1<<20)
	for range 3 {
		ops := []bridge.Op{{Addr: 0x1ff0, Buf: make([]byte, 0x20)}, {Addr: 0x1100, Buf: make([]byte, 8)}}
		if err := c.ReadPhys(ctx, ops); err != nil || ops[0].Err != nil || ops[1].Err != nil {
			t.Fatal(err, ops[0].Err, ops[1].Err)
		}
	}
	if n := fake.Counts(); n.Reads != 2 || n.Batches != 1 {
		t.Errorf("%d reads in %d batches for two pages, want 2 in 1", n.Reads, n.Batches)
	}
}

func TestCacheAtTheEdgesOfRAM(t *testing.T) {
	fake := bridgetest.NewFake(nil)
	fake.Place(0x1800, []byte(strings.Repeat("x", 0x1000))) // from mid-page to mid-page
	c := bridge.NewCache(bridge.NewGuard(fake, nil), 1<<20)
	for range 2 {
		for _, tc := range []struct {
			addr bridge.PhysAddr
			n    int
			good int
		}{{0x1800, 16, 16}, {0x17f8, 16, 0}, {0x27f8, 16, 8}, {0x2000, 16, 16}, {0x3000, 8, 0}} {
			n, err := bridge.Read(ctx, c, tc.addr, make([]byte, tc.n), false)
			if n != tc.good || (err != nil) != (n < tc.n) {
				t.Errorf("%#x: %d good bytes, %v; want %d", uint64(tc.addr), n, err, tc.good)
			}
		}
	}
}

func TestCacheDoesNotAskTwiceWhatIsSilent(t *testing.T) {
	fake := bridgetest.NewFake(make([]byte, 0x4000))
	fake.Fail(0x1000, 0x1000, bridge.ErrTimeout)
	c := bridge.NewCache(fake, 1<<20)
	n, err := bridge.Read(ctx, c, 0xff8, make([]byte, 16), false)
	if n != 8 || !errors.Is(err, bridge.ErrTimeout) {
		t.Errorf("%d good bytes, %v", n, err)
	}
	if fake.Counts().Batches != 1 {
		t.Errorf("asked %d times", fake.Counts().Batches)
	}
	if want := "read 8 bytes at phys 0x1000: "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v; want %q", err, want)
	}
}
