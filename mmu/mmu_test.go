package mmu_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
	"physgdb/bridge/dump"
	"physgdb/mmu"
	"physgdb/test/memimage"
)

var ctx = context.Background()

// world is a memory with page tables of one depth.
type world struct {
	*memimage.Image
	levels int
	top    bridge.PhysAddr
	fake   *bridgetest.Fake
}

func newWorld(levels int) *world {
	im := memimage.New(4 << 20)
	return &world{Image: im, levels: levels, top: im.Page(), fake: bridgetest.NewFake(im.RAM)}
}

func (w *world) mapPage(level int, va uint64, pa bridge.PhysAddr, bits uint64) {
	w.Map(w.top, w.levels, level, va, pa, bits)
}

func (w *world) space(t testing.TB, o *mmu.Options) *mmu.Space {
	t.Helper()
	s, err := mmu.New(w.fake, o).Space(mmu.Root{CR3: uint64(w.top), Levels: w.levels})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// everyPage maps one page of each size, high and low.
func everyPage(w *world) {
	w.mapPage(1, 0x400000, 0x3000, memimage.User)
	w.mapPage(1, 0x401000, 0x4000, memimage.User|memimage.Writable|memimage.NX)
	w.mapPage(2, 0xffffffff81000000, 0x200000, 0)
	w.mapPage(3, 0xffff888000000000, 0x40000000, memimage.Writable|memimage.NX)
	w.mapPage(1, 0xffffffffff5fd000, 0xfec00000, memimage.Writable|memimage.PCD|memimage.NX)
}

func TestTranslate(t *testing.T) {
	for _, tc := range []struct {
		name  string
		va    uint64
		pa    bridge.PhysAddr
		page  uint64
		flags string
		err   string
	}{
		{name: "4 KiB, user text", va: 0x400123, pa: 0x3123, page: 4 << 10, flags: "r-xu"},
		{name: "4 KiB, user data", va: 0x401fff, pa: 0x4fff, page: 4 << 10, flags: "rw-u"},
		{name: "2 MiB, kernel text", va: 0xffffffff81012345, pa: 0x212345, page: 2 << 20, flags: "r-xk"},
		{name: "1 GiB, direct map", va: 0xffff888012345678, pa: 0x52345678, page: 1 << 30, flags: "rw-k"},
		{name: "a device", va: 0xffffffffff5fd010, pa: 0xfec00010, page: 4 << 10, flags: "rw-k,uncached"},
		{name: "not in the PT", va: 0x402000, err: "PT entry 2 (at phys "},
		{name: "not in the PD", va: 0xffffffff81200000, err: "PD entry 9 (at phys "},
		{name: "not in the top table", va: 0x00007f0000000000, err: "not present"},
		{name: "non-canonical", va: 0x0f00_0000_0000_0000, err: "non-canonical"},
	} {
		for _, levels := range []int{4, 5} {
			t.Run(fmt.Sprintf("%s, %d levels", tc.name, levels), func(t *testing.T) {
				w := newWorld(levels)
				everyPage(w)
				mp, err := w.space(t, nil).Translate(ctx, tc.va)
				if tc.err != "" {
					if err == nil || !strings.Contains(err.Error(), tc.err) {
						t.Fatalf("error %v, want one with %q", err, tc.err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if mp.Phys(tc.va) != tc.pa || mp.Page != tc.page || mp.Flags.String() != tc.flags {
					t.Errorf("got phys %#x, page %#x, %v", mp.Phys(tc.va), mp.Page, mp.Flags)
				}
				if len(mp.Path()) != levels-map[uint64]int{4 << 10: 0, 2 << 20: 1, 1 << 30: 2}[tc.page] {
					t.Errorf("path %v", mp.Path())
				}
			})
		}
	}
}

func TestRoots(t *testing.T) {
	const cbit = 1 << 47
	for _, tc := range []struct {
		name  string
		root  func(top uint64) mmu.Root
		prep  func(w *world)
		flags string
	}{
		{"plain", func(top uint64) mmu.Root { return mmu.Root{CR3: top} }, nil, "r-xu"},
		{"with a PCID", func(top uint64) mmu.Root { return mmu.Root{CR3: top | 0x807} }, nil, "r-xu"},
		{"with PWT and PCD", func(top uint64) mmu.Root { return mmu.Root{CR3: top | 0x18} }, nil, "r-xu"},
		{"with LAM and the no-flush bit", func(top uint64) mmu.Root { return mmu.Root{CR3: top | 0xe<<60} }, nil, "r-xu"},
		{"with the C-bit", func(top uint64) mmu.Root { return mmu.Root{CR3: top | cbit, CBit: cbit} }, func(w *world) {
			for pa := w.top; pa < w.top+0x4000; pa += 8 {
				if e := w.Get64(pa); e != 0 {
					w.Put64(pa, e|cbit)
				}
			}
		}, "r-xu"},
		{"user half marked NX, taken at its word", func(top uint64) mmu.Root { return mmu.Root{CR3: top} }, markNX, "r--u"},
		{"user half marked NX, known", func(top uint64) mmu.Root { return mmu.Root{CR3: top, LowNX: true} }, markNX, "r-xu"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(4)
			w.mapPage(1, 0x400000, 0x3000, memimage.User)
			if tc.prep != nil {
				tc.prep(w)
			}
			root := tc.root(uint64(w.top))
			root.Levels = 4
			s, err := mmu.New(w.fake, nil).Space(root)
			if err != nil {
				t.Fatal(err)
			}
			mp, err := s.Translate(ctx, 0x400abc)
			if err != nil {
				t.Fatal(err)
			}
			if mp.Phys(0x400abc) != 0x3abc || mp.Flags.String() != tc.flags {
				t.Errorf("phys %#x, %v; want 0x3abc, %s", mp.Phys(0x400abc), mp.Flags, tc.flags)
			}
		})
	}
	if _, err := mmu.New(bridgetest.NewFake(nil), nil).Space(mmu.Root{Levels: 3}); err == nil {
		t.Error("3 levels were accepted")
	}
}

func markNX(w *world) { w.Put64(w.top, w.Get64(w.top)|memimage.NX) }

func TestManyAddressesCostOneReadALevel(t *testing.T) {
	w := newWorld(5)
	var vas []uint64
	for i := range uint64(64) {
		va := i << 30 // each with a PD and a PT of its own
		w.mapPage(1, va, bridge.PhysAddr(i*4096), 0)
		vas = append(vas, va+i)
	}
	s := w.space(t, nil)
	out := make([]mmu.Translation, len(vas))
	if err := s.TranslateAll(ctx, vas, out); err != nil {
		t.Fatal(err)
	}
	for i := range out {
		if out[i].Err != nil || out[i].Phys(vas[i]) != bridge.PhysAddr(i*4096+i) {
			t.Errorf("%#x: phys %#x, %v", vas[i], out[i].Phys(vas[i]), out[i].Err)
		}
	}
	if c := w.fake.Counts(); c.Batches != 5 || c.Reads != 3+64+64 {
		t.Errorf("%d reads in %d batches, want 131 in 5", c.Reads, c.Batches)
	}
	if err := s.TranslateAll(ctx, vas, out); err != nil {
		t.Fatal(err)
	}
	if c := w.fake.Counts(); c.Batches != 5 {
		t.Errorf("cached tables were read again: %d batches", c.Batches)
	}
}

func TestTranslateAllReportsEachFault(t *testing.T) {
	w := newWorld(4)
	everyPage(w)
	w.Put64(w.Entry(w.top, 4, 3, 0x5_0000_0000), 0xdead000|memimage.Present) // a PD outside RAM
	vas := []uint64{0x400000, 0x5_0000_0000, 0x1234_0000_0000_0000, 0x402000, 0x401000}
	out := make([]mmu.Translation, len(vas))
	if err := w.space(t, nil).TranslateAll(ctx, vas, out); err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{nil, bridge.ErrNotRAM, mmu.ErrNonCanonical, mmu.ErrNotPresent, nil} {
		if !errors.Is(out[i].Err, want) || (out[i].Err == nil) != (want == nil) {
			t.Errorf("%#x: %v, want %v", vas[i], out[i].Err, want)
		}
	}
	if got := out[1].Err.Error(); !strings.HasPrefix(got, "PDPT entry 20 (at phys ") {
		t.Errorf("the fault does not name its entry: %s", got)
	}
}

func TestReadMemory(t *testing.T) {
	for _, viewed := range []bool{false, true} {
		for _, tc := range []struct {
			name string
			va   uint64
			n    int
			want string // of the good prefix
			err  error
		}{
			{"within a page", 0x400ff0, 8, "aaaaaaaa", nil},
			{"across pages that lie apart", 0x400ffc, 8, "aaaacccc", nil},
			{"across pages that lie together", 0x401ffc, 8, "ccccdddd", nil},
			{"up to a hole", 0x402ff8, 16, "dddddddd", mmu.ErrNotPresent},
			{"in a hole", 0x403000, 4, "", mmu.ErrNotPresent},
			{"a device", 0x500000, 4, "", bridge.ErrNotRAM},
			{"over the top", 0xfffffffffffffffc, 8, "cccc", mmu.ErrNonCanonical},
			{"nothing", 0x403000, 0, "", nil},
		} {
			t.Run(fmt.Sprintf("%s, viewed %v", tc.name, viewed), func(t *testing.T) {
				w := newWorld(4)
				for i, pa := range []bridge.PhysAddr{0x8000, 0x3000, 0x4000} {
					w.mapPage(1, 0x400000+uint64(i)*4096, pa, 0)
				}
				w.mapPage(1, 0x500000, 0xfec00000, memimage.PCD)
				w.mapPage(1, 0xfffffffffffff000, 0x3000, 0)
				w.mapPage(1, 0, 0x4000, 0) // is not what follows the highest page
				for pa, c := range map[int]byte{0x8000: 'a', 0x3000: 'c', 0x4000: 'd'} {
					for i := range 4096 {
						w.RAM[pa+i] = c
					}
				}
				var mem bridge.Memory = w.fake
				if viewed {
					mem = &viewer{w.fake, w.RAM}
				}
				s, err := mmu.New(mem, nil).Space(mmu.Root{CR3: uint64(w.top), Levels: 4})
				if err != nil {
					t.Fatal(err)
				}
				p := make([]byte, tc.n)
				n, err := s.ReadMemory(ctx, tc.va, p)
				if string(p[:n]) != tc.want || !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
					t.Errorf("got %q, %v; want %q, %v", p[:n], err, tc.want, tc.err)
				}
				if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("%#x", tc.va+uint64(n))) {
					t.Errorf("error does not name the address: %v", err)
				}
			})
		}
	}
}

func TestReadMemoryOfAFileThatIsCutShort(t *testing.T) {
	w := newWorld(4)
	const last = 3 << 20
	w.mapPage(1, 0x400000, 0x8000, 0)
	w.mapPage(1, 0x401000, last, 0)
	path := filepath.Join(t.TempDir(), "ram")
	if err := os.WriteFile(path, w.RAM, 0o600); err != nil {
		t.Fatal(err)
	}
	mem, err := dump.OpenFiles([]string{path}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	s, err := mmu.New(mem, nil).Space(mmu.Root{CR3: uint64(w.top), Levels: 4})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, last+512); err != nil { // the rest of that page stays readable
		t.Fatal(err)
	}
	if n, err := s.ReadMemory(ctx, 0x400000, make([]byte, 8192)); n != 8192 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := os.Truncate(path, last); err != nil {
		t.Fatal(err)
	}
	n, err := s.ReadMemory(ctx, 0x400ff0, make([]byte, 32))
	if n != 16 || !errors.Is(err, bridge.ErrGone) || !strings.Contains(err.Error(), "0x401000") {
		t.Errorf("%d bytes, %v; want 16, and where it ends", n, err)
	}
}

func TestMoreTablesThanAreKept(t *testing.T) {
	const tables, span = 1<<14 + 1, 2 << 20
	im := memimage.New((tables + 512) * mmu.PageSize)
	top := im.Page()
	vas := make([]uint64, tables)
	for i := range vas {
		vas[i] = 0xffff888000000000 + uint64(i)*span
		im.Map(top, 4, 1, vas[i], bridge.PhysAddr(i)*mmu.PageSize, 0)
	}
	s, err := mmu.New(bridgetest.NewFake(im.RAM), nil).Space(mmu.Root{CR3: uint64(top), Levels: 4})
	if err != nil {
		t.Fatal(err)
	}
	patient, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	found := make([]mmu.Translation, tables)
	if err := s.TranslateAll(patient, vas, found); err != nil {
		t.Fatal(err)
	}
	for i := range found {
		if found[i].Err != nil || found[i].PA != bridge.PhysAddr(i)*mmu.PageSize {
			t.Fatalf("%#x: phys %#x, %v", vas[i], uint64(found[i].PA), found[i].Err)
		}
	}
}

// viewer shows RAM in place, as a mapped file does.
type viewer struct {
	bridge.Memory
	ram []byte
}

func (v *viewer) View(addr bridge.PhysAddr, n int) ([]byte, bool) {
	if uint64(addr)+uint64(n) > uint64(len(v.ram)) {
		return nil, false
	}
	return v.ram[addr : addr+bridge.PhysAddr(n)], true
}

func TestOneReadForManyPages(t *testing.T) {
	w := newWorld(4)
	for i := range uint64(16) {
		w.mapPage(1, 0x400000+i*4096, bridge.PhysAddr(0x8000+i*8192), 0)
	}
	s := w.space(t, nil)
	if _, err := s.ReadMemory(ctx, 0x400000, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	before := w.fake.Counts()
	if _, err := s.ReadMemory(ctx, 0x400000, make([]byte, 16*4096)); err != nil {
		t.Fatal(err)
	}
	if c := w.fake.Counts(); c.Batches-before.Batches != 1 || c.Reads-before.Reads != 16 {
		t.Errorf("%d reads in %d batches, want 16 in 1", c.Reads-before.Reads, c.Batches-before.Batches)
	}
}

func TestOnlyCacheablePagesAreNamed(t *testing.T) {
	w := newWorld(4)
	w.mapPage(1, 0x400000, 0x3000, 0)
	w.mapPage(1, 0x401000, 0x4000, memimage.PCD)
	w.mapPage(1, 0x402000, 0x5000, memimage.PWT)
	guard := bridge.NewGuard(&unmapped{w.fake}, nil)
	s, err := mmu.New(guard, nil).Space(mmu.Root{CR3: uint64(w.top), Levels: 4})
	if err != nil {
		t.Fatal(err)
	}
	for va, want := range map[uint64]error{0x400000: nil, 0x401000: bridge.ErrUnknownRAM, 0x402000: bridge.ErrUnknownRAM} {
		if _, err := s.ReadMemory(ctx, va, make([]byte, 8)); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%#x: %v, want %v", va, err, want)
		}
	}
}

// unmapped is a memory that does not know where its RAM is.
type unmapped struct{ bridge.Memory }

func (u *unmapped) Info() bridge.Info { return bridge.Info{} }

func collect(t *testing.T, s *mmu.Space, r mmu.Range, merge bool) (lines []string, errs []error) {
	t.Helper()
	list := s.Mappings(ctx, r)
	if merge {
		list = mmu.Merge(list)
	}
	for mp, err := range list {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		lines = append(lines, fmt.Sprintf("%#x+%#x %#x %#x %v %v", mp.VA, mp.Size, uint64(mp.PA), mp.Page, mp.Flags, mp.Path()))
	}
	return lines, errs
}

func TestMappings(t *testing.T) {
	w := newWorld(4)
	everyPage(w)
	s := w.space(t, nil)
	high := []string{
		"0xffff888000000000+0x40000000 0x40000000 0x40000000 rw-k [273 0]",
		"0xffffffff81000000+0x200000 0x200000 0x200000 r-xk [511 510 8]",
		"0xffffffffff5fd000+0x1000 0xfec00000 0x1000 rw-k,uncached [511 511 506 509]",
	}
	low := []string{
		"0x400000+0x1000 0x3000 0x1000 r-xu [0 0 2 0]",
		"0x401000+0x1000 0x4000 0x1000 rw-u [0 0 2 1]",
	}
	for _, tc := range []struct {
		name string
		r    mmu.Range
		want []string
	}{
		{"all", mmu.All, append(append([]string{}, low...), high...)},
		{"the lower half", mmu.Lower, low},
		{"the upper half", mmu.Upper, high},
		{"a part of a page", mmu.Range{First: 0x401800, Last: 0x401801}, low[1:]},
		{"between pages", mmu.Range{First: 0x402000, Last: 0xffff887fffffffff}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, errs := collect(t, s, tc.r, false)
			if diff := cmp.Diff(tc.want, got); diff != "" || errs != nil {
				t.Errorf("errors %v, diff (-want +got):\n%s", errs, diff)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	w := newWorld(4)
	for _, p := range []struct{ va, pa, bits uint64 }{
		{0x400000, 0x10000, 0}, {0x401000, 0x11000, 0}, {0x402000, 0x12000, 0}, // one run
		{0x403000, 0x14000, 0},                         // a gap in physical memory
		{0x404000, 0x15000, memimage.NX},               // other rights
		{0x406000, 0x16000, memimage.NX},               // a gap in virtual memory
		{0x5ff000, 0x17000, 0}, {0x600000, 0x18000, 0}, // across PTs
	} {
		w.mapPage(1, p.va, bridge.PhysAddr(p.pa), p.bits)
	}
	got, errs := collect(t, w.space(t, nil), mmu.All, true)
	want := []string{
		"0x400000+0x3000 0x10000 0x1000 r-xk [0 0 2 0]",
		"0x403000+0x1000 0x14000 0x1000 r-xk [0 0 2 3]",
		"0x404000+0x1000 0x15000 0x1000 r--k [0 0 2 4]",
		"0x406000+0x1000 0x16000 0x1000 r--k [0 0 2 6]",
		"0x5ff000+0x2000 0x17000 0x1000 r-xk [0 0 2 511]",
	}
	if diff := cmp.Diff(want, got); diff != "" || errs != nil {
		t.Errorf("errors %v, diff (-want +got):\n%s", errs, diff)
	}
}

func TestFoldEqual(t *testing.T) {
	w := newWorld(4)
	const stride = 64 << 10
	for i := range uint64(100) {
		w.mapPage(1, 0x400000+i*stride, 0x10000, 0)
	}
	w.mapPage(1, 0x400000+100*stride, 0x11000, 0) // another page
	for i := range uint64(3) {                    // too few
		w.mapPage(1, 0x5000000+i*stride, 0x12000, 0)
	}
	var got []string
	for f, err := range mmu.FoldEqual(mmu.Merge(w.space(t, nil).Mappings(context.Background(), mmu.All))) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%#x %#x %d %#x", f.VA, uint64(f.PA), f.Times, f.Stride))
	}
	want := []string{
		"0x400000 0x10000 100 0x10000", "0xa40000 0x11000 1 0x0",
		"0x5000000 0x12000 1 0x0", "0x5010000 0x12000 1 0x0", "0x5020000 0x12000 1 0x0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDamagedTables(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(w *world)
		want   error
	}{
		{"a table that leads to itself", func(w *world) {
			w.Put64(w.top+8*7, uint64(w.top)|memimage.Present)
		}, mmu.ErrLoop},
		{"a PT that leads to the top", func(w *world) {
			w.Put64(w.Entry(w.top, 4, 2, 0x700000), uint64(w.top)|memimage.Present)
		}, mmu.ErrLoop},
		{"a table outside RAM", func(w *world) {
			w.Put64(w.top+8*7, 0x7ffffffff000|memimage.Present)
		}, bridge.ErrNotRAM},
		{"a large page in the top table", func(w *world) {
			w.Put64(w.top+8*7, 0x3000|memimage.Present|memimage.Large)
		}, mmu.ErrReserved},
		{"a large page that is not aligned", func(w *world) {
			w.Put64(w.Entry(w.top, 4, 2, 0x700000), 0x14000|memimage.Present|memimage.Large)
		}, mmu.ErrReserved},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(4)
			everyPage(w)
			tc.damage(w)
			lines, errs := collect(t, w.space(t, nil), mmu.All, false)
			if len(errs) != 1 || !errors.Is(errs[0], tc.want) {
				t.Errorf("errors %v, want one: %v", errs, tc.want)
			}
			if len(lines) < 5 {
				t.Errorf("the sound mappings were not all listed: %v", lines)
			}
		})
	}
}

func TestGarbageEnds(t *testing.T) {
	w := newWorld(5)
	rng := rand.New(rand.NewPCG(1, 2))
	for pa := 0; pa < len(w.RAM); pa += 8 { // every entry leads to some other page
		page := rng.Uint64N(uint64(len(w.RAM)) / 4096)
		binary.LittleEndian.PutUint64(w.RAM[pa:], page*4096|memimage.Present)
	}
	s := w.space(t, &mmu.Options{MaxTables: 5000})
	var last error
	for _, err := range s.Mappings(ctx, mmu.All) {
		if err != nil {
			last = err
		}
	}
	if !errors.Is(last, mmu.ErrTooMany) {
		t.Errorf("ended with %v, want %v", last, mmu.ErrTooMany)
	}
}

func TestEnumerationMinimalReads(t *testing.T) {
	w := newWorld(4)
	everyPage(w)
	collect(t, w.space(t, nil), mmu.All, false)
	// PML4; PDPTs 0, 273, 511; PDs of 0x400000, image, fixmap; PTs of 0x400000 and the fixmap
	if c := w.fake.Counts(); c.Reads != 1+3+3+2 {
		t.Errorf("%d reads for 9 tables", c.Reads)
	}
}

func TestResidentPages(t *testing.T) {
	w := newWorld(4)
	const inRAM, swapped = 0x8000000000003100, 0x100
	w.Put64(w.Entry(w.top, 4, 1, 0x400000), inRAM)
	w.Put64(w.Entry(w.top, 4, 1, 0x401000), swapped)
	s := w.space(t, &mmu.Options{Resident: func(level int, entry uint64) (bridge.PhysAddr, string, bool) {
		if level == 1 && entry == inRAM {
			return 0x3000, "", true
		}
		return 0, "swapped out", false
	}})
	mp, err := s.Translate(ctx, 0x400010)
	if err != nil || mp.Phys(0x400010) != 0x3010 || mp.Flags&mmu.Resident == 0 {
		t.Errorf("phys %#x, %v, %v", mp.Phys(0x400010), mp.Flags, err)
	}
	_, err = s.Translate(ctx, 0x401000)
	if !errors.Is(err, mmu.ErrNotPresent) || !strings.Contains(err.Error(), "swapped out") {
		t.Errorf("a page that is gone: %v", err)
	}
}

func TestExplain(t *testing.T) {
	w := newWorld(4)
	everyPage(w)
	s := w.space(t, nil)
	steps, _, err := s.Explain(ctx, 0x402000)
	var f *mmu.Fault
	if !errors.As(err, &f) || len(steps) != 4 || f.Level != 1 || f.Index != 2 || steps[3].Addr != f.Addr {
		t.Errorf("steps %+v, fault %+v", steps, f)
	}
	if steps, _, err := s.Explain(ctx, 0xffffffff81000000); err != nil || len(steps) != 3 {
		t.Errorf("a large page: %d steps, %v", len(steps), err)
	}
	if steps, _, err := s.Explain(ctx, 1<<60); !errors.Is(err, mmu.ErrNonCanonical) || steps != nil {
		t.Errorf("non-canonical: %v, %v", steps, err)
	}
}

func TestInvalidate(t *testing.T) {
	w := newWorld(4)
	w.mapPage(1, 0x400000, 0x3000, 0)
	m := mmu.New(w.fake, nil)
	s, err := m.Space(mmu.Root{CR3: uint64(w.top), Levels: 4})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bridge.PhysAddr{0x3000, 0x3000, 0x5000} {
		switch i {
		case 1:
			w.mapPage(1, 0x400000, 0x5000, 0)
		case 2:
			m.Invalidate()
		}
		if mp, err := s.Translate(ctx, 0x400000); err != nil || mp.PA != want {
			t.Errorf("step %d: phys %#x, %v; want %#x", i, mp.PA, err, want)
		}
	}
}

func TestCancelledContext(t *testing.T) {
	w := newWorld(4)
	everyPage(w)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	s := w.space(t, nil)
	if _, err := s.Translate(gone, 0x400000); !errors.Is(err, context.Canceled) {
		t.Errorf("translate: %v", err)
	}
	if _, err := s.ReadMemory(gone, 0x400000, make([]byte, 8)); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
	for _, err := range s.Mappings(gone, mmu.All) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("mappings: %v", err)
		}
	}
	shown, err := mmu.New(&viewer{w.fake, w.RAM}, nil).Space(mmu.Root{CR3: uint64(w.top), Levels: 4})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shown.ReadMemory(ctx, 0x400000, make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if _, err := shown.ReadMemory(gone, 0x400000, make([]byte, 8)); !errors.Is(err, context.Canceled) {
		t.Errorf("read in place with cached tables: %v", err)
	}
}

// FuzzWalk walks tables made of arbitrary bytes: everything ends, with a page or an error, and
// bytes outside RAM are never reported as read.
func FuzzWalk(f *testing.F) {
	w := newWorld(4)
	everyPage(w)
	f.Add(w.RAM[1<<20:1<<20+64<<10], uint64(0), uint64(0x400000), false)
	f.Add([]byte{0x27, 0, 0, 0, 0, 0, 0, 0}, uint64(0), uint64(0), true)
	f.Fuzz(func(t *testing.T, ram []byte, cr3, va uint64, five bool) {
		levels := 4
		if five {
			levels = 5
		}
		padded := make([]byte, (len(ram)+4095)&^4095)
		copy(padded, ram)
		m := mmu.New(bridgetest.NewFake(padded), &mmu.Options{MaxTables: 200})
		s, err := m.Space(mmu.Root{CR3: cr3, Levels: levels})
		if err != nil {
			t.Fatal(err)
		}
		mp, err := s.Translate(ctx, va)
		if err == nil && (va < mp.VA || va-mp.VA >= mp.Size) {
			t.Errorf("%#x lies outside its own mapping %#x+%#x", va, mp.VA, mp.Size)
		}
		s.Explain(ctx, va)
		p := make([]byte, 5000)
		if n, err := s.ReadMemory(ctx, va, p); n > len(p) || (n < len(p)) != (err != nil) {
			t.Errorf("read %d of %d bytes with error %v", n, len(p), err)
		}
		pages := 0
		for range mmu.Merge(s.Mappings(ctx, mmu.All)) {
			if pages++; pages > 200*513 {
				t.Fatal("more mappings than the tables allowed can hold")
			}
		}
	})
}
