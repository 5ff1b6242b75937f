package bridge_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
)

var ctx = context.Background()

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
				_, seen := g.Viewer().View(page, 8)
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

// shown is a memory that shows zeros in place and has hints.
type shown struct{ *bridgetest.Fake }

func (shown) View(_ bridge.PhysAddr, n int) ([]byte, bool) { return make([]byte, n), true }

func (shown) Hints(context.Context) (bridge.Hints, error) { return bridge.Hints{Release: "6.1"}, nil }

// TestWrappersForwardAbilities: a wrapper has an ability of what it wraps, and none that this has
// not.
func TestWrappersForwardAbilities(t *testing.T) {
	fake := bridgetest.NewFake(make([]byte, bridge.PageSize))
	for _, tc := range []struct {
		name    string
		mem     bridge.Memory
		views   bool
		release string
	}{
		{"a memory", shown{fake}, true, "6.1"},
		{"a guard", bridge.NewGuard(shown{fake}, nil), true, "6.1"},
		{"a meter", bridge.NewMeter(shown{fake}), true, "6.1"},
		{"a guard around a meter", bridge.NewGuard(bridge.NewMeter(shown{fake}), nil), true, "6.1"},
		{"a cache", bridge.NewCache(shown{fake}, 1<<20), false, "6.1"},
		{"a memory without abilities", fake, false, ""},
		{"a guard around it", bridge.NewGuard(bridge.NewMeter(fake), nil), false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if v := bridge.ViewerOf(tc.mem); (v != nil) != tc.views {
				t.Errorf("viewer %v", v)
			} else if v != nil {
				if p, ok := v.View(8, 8); !ok || len(p) != 8 {
					t.Errorf("%d bytes, %v", len(p), ok)
				}
			}
			if h, err := bridge.HintsOf(ctx, tc.mem); h.Release != tc.release || err != nil {
				t.Errorf("hints %+v, %v", h, err)
			}
		})
	}
}

// TestGuardIsNarrowedWhileInUse has readers at work while the map shrinks page by page: what was
// refused once stays so.
func TestGuardIsNarrowedWhileInUse(t *testing.T) {
	const pages = 64
	g := bridge.NewGuard(shown{bridgetest.NewFake(make([]byte, pages*bridge.PageSize))}, nil)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			end := bridge.PhysAddr(pages * bridge.PageSize)
			for end > bridge.PageSize {
				if _, err := bridge.Read(ctx, g, end-8, make([]byte, 8), true); err == nil {
					continue
				}
				if _, ok := g.Viewer().View(end-8, 8); ok {
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
