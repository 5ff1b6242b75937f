package find

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/test/memimage"
)

const (
	testSlide = 0x1c000000
	testTable = 0x9c000 // where a trampoline's table is, usually
)

// deadKernel makes a memory with a kernel that left nothing yet to be found by.
func deadKernel(levels int) *memimage.Kernel {
	return memimage.NewKernel(&memimage.KernelOptions{Levels: levels, Slide: testSlide})
}

// vmlinuxOf is the symbol table of k, with a build-id.
func vmlinuxOf(k *memimage.Kernel, id string) *symbols.Table {
	var syms []symbols.Symbol
	for _, s := range k.Symbols() {
		syms = append(syms, symbols.Symbol{Name: s.Name, Addr: s.Link, Size: s.Size, Func: s.Func})
	}
	return symbols.NewTable(syms, []byte(id))
}

// find looks for a kernel in a memory without a cache.
func find(mem bridge.Memory, o *Options) (*linux.Kernel, error) {
	return Kernel(ctx, mmu.New(mem, nil), mem, o)
}

// isKernel checks that k is the kernel of d, found in one way.
func isKernel(t *testing.T, k *linux.Kernel, d *memimage.Kernel, by linux.Method) {
	t.Helper()
	if k.FoundBy != by {
		t.Errorf("found by %s, want %s", k.FoundBy, by)
	}
	if k.Text != d.Text() || k.TextPhys != d.High+d.TextPhys || k.Root.Levels != d.Levels || k.Slide != d.Slide {
		t.Errorf("found text at %#x, phys %#x, %d levels, slide %#x", k.Text, uint64(k.TextPhys), k.Root.Levels, k.Slide)
	}
	p := make([]byte, 5)
	if _, err := k.Space.ReadMemory(ctx, d.Text()+8<<21, p); err != nil || string(p) != "Linux" {
		t.Errorf("its banner reads %q, %v", p, err)
	}
}

func TestFind(t *testing.T) {
	for _, tc := range []struct {
		name    string
		prepare func(d *memimage.Kernel, o *Options)
		vmlinux bool
		by      linux.Method
		root    func(d *memimage.Kernel) bridge.PhysAddr
		reads   uint64 // at most
	}{
		{"by a CR3", func(d *memimage.Kernel, o *Options) { o.CR3 = d.CR3 | 0x123 }, true, linux.ByCR3, panicked, 10},
		{"by the user half of a pair", func(d *memimage.Kernel, o *Options) { o.CR3 = d.CR3 + 0x1000 }, true, linux.ByCR3,
			panicked, 20},
		{"by a note whose address is given", func(d *memimage.Kernel, o *Options) { o.VMCoreInfo = d.AddVMCoreInfo() }, true,
			linux.ByVMCoreInfo, (*memimage.Kernel).InitTop, 10},
		{"by the text of a note whose address is given", func(d *memimage.Kernel, o *Options) {
			o.VMCoreInfo = d.AddVMCoreInfo() + 24
		}, true, linux.ByVMCoreInfo, (*memimage.Kernel).InitTop, 10},
		{"by a trampoline", func(d *memimage.Kernel, o *Options) { d.AddTrampoline(testTable) }, true,
			linux.ByTrampoline, (*memimage.Kernel).InitTop, 40},
		{"by a trampoline, without a vmlinux", func(d *memimage.Kernel, o *Options) { d.AddTrampoline(testTable) }, false,
			linux.ByTrampoline, func(*memimage.Kernel) bridge.PhysAddr { return testTable }, 40},
		{"by the highest trampoline", func(d *memimage.Kernel, o *Options) { d.AddTrampoline(0x9e000) }, true,
			linux.ByTrampoline, (*memimage.Kernel).InitTop, 40},
		{"by the lowest trampoline", func(d *memimage.Kernel, o *Options) { d.AddTrampoline(0x1000) }, true,
			linux.ByTrampoline, (*memimage.Kernel).InitTop, 200},
		{"by a trampoline whose kernel has lost its own table", func(d *memimage.Kernel, o *Options) {
			d.AddTrampoline(testTable)
			clear(d.RAM[d.InitTop():][:4096])
		}, true, linux.ByTrampoline, func(*memimage.Kernel) bridge.PhysAddr { return testTable }, 40},
		{"by the banner", func(*memimage.Kernel, *Options) {}, true, linux.ByBanner, (*memimage.Kernel).InitTop, 200},
		{"by a note in RAM", func(d *memimage.Kernel, o *Options) { d.AddVMCoreInfo() }, false,
			linux.ByNoteScan, (*memimage.Kernel).InitTop, 7000},
		{"by a trampoline, after a CR3 of another boot", func(d *memimage.Kernel, o *Options) {
			o.CR3 = 0x300000
			d.AddTrampoline(testTable)
		}, true, linux.ByTrampoline, (*memimage.Kernel).InitTop, 50},
		{"by a trampoline, after a note that is none", func(d *memimage.Kernel, o *Options) {
			o.VMCoreInfo = 0x300000
			d.AddTrampoline(testTable)
		}, true, linux.ByTrampoline, (*memimage.Kernel).InitTop, 50},
		{"by a note, after a CR3 of another boot", func(d *memimage.Kernel, o *Options) {
			o.CR3, o.VMCoreInfo = 0x300000, d.AddVMCoreInfo()
		}, true, linux.ByVMCoreInfo, (*memimage.Kernel).InitTop, 20},
	} {
		for levels := 4; levels <= 5; levels++ {
			t.Run(fmt.Sprintf("%s, %d levels", tc.name, levels), func(t *testing.T) {
				d := deadKernel(levels)
				o := &Options{}
				tc.prepare(d, o)
				if tc.vmlinux {
					o.Symbols = vmlinuxOf(d, memimage.BuildID)
				}
				fake := bridgetest.NewFake(d.RAM)
				k, err := find(fake, o)
				if err != nil {
					t.Fatal(err)
				}
				if n := fake.Counts().Reads; n > tc.reads {
					t.Errorf("%d reads, want %d at most", n, tc.reads)
				}
				isKernel(t, k, d, tc.by)
				if got, want := k.Root.Table(), tc.root(d); got != want {
					t.Errorf("root at phys %#x, want %#x", uint64(got), uint64(want))
				}
			})
		}
	}
}

// panicked is the root of the task that panicked.
func panicked(d *memimage.Kernel) bridge.PhysAddr { return bridge.PhysAddr(d.CR3) }

// TestFindAbove4GiB has a kernel where no 32 bits reach, in a memory with a hole.
func TestFindAbove4GiB(t *testing.T) {
	for _, tc := range []struct {
		by      linux.Method
		prepare func(d *memimage.Kernel)
		vmlinux bool
	}{
		{linux.ByTrampoline, func(d *memimage.Kernel) { d.AddTrampoline(testTable) }, true},
		{linux.ByBanner, func(*memimage.Kernel) {}, true},
		{linux.ByNoteScan, func(d *memimage.Kernel) { d.AddVMCoreInfo() }, false},
	} {
		t.Run(string(tc.by), func(t *testing.T) {
			d := memimage.NewKernel(&memimage.KernelOptions{Levels: 5, Slide: testSlide, High: 5 << 30})
			tc.prepare(d)
			fake := bridgetest.NewFake(d.RAM[:d.TextPhys])
			fake.Place(d.High+d.TextPhys, d.RAM[d.TextPhys:])
			o := &Options{}
			if tc.vmlinux {
				o.Symbols = vmlinuxOf(d, memimage.BuildID)
			}
			k, err := find(fake, o)
			if err != nil {
				t.Fatal(err)
			}
			isKernel(t, k, d, tc.by)
			if want := int64(5<<30+4<<20) - (0x1000000 + testSlide); k.PhysBase() != want {
				t.Errorf("phys_base %#x, want %#x", k.PhysBase(), want)
			}
		})
	}
}

// TestFindWithEncryptedMemory has the C-bit of AMD's SME in every entry.
func TestFindWithEncryptedMemory(t *testing.T) {
	for _, bit := range []uint{47, 51} {
		d := deadKernel(5)
		d.AddTrampoline(testTable)
		encrypt := func(from, to bridge.PhysAddr) {
			for pa := from; pa < to; pa += 8 {
				if e := d.Get64(pa); e&memimage.Present != 0 {
					d.Put64(pa, e|1<<bit)
				}
			}
		}
		encrypt(1<<20, d.TextPhys)
		encrypt(testTable, testTable+4096)
		encrypt(d.InitTop(), d.InitTop()+4096)
		k, err := find(bridgetest.NewFake(d.RAM), &Options{Symbols: vmlinuxOf(d, memimage.BuildID)})
		if err != nil {
			t.Fatal(err)
		}
		isKernel(t, k, d, linux.ByTrampoline)
		if k.Root.CBit != 1<<bit {
			t.Errorf("C-bit %#x, want bit %d", k.Root.CBit, bit)
		}
	}
}

// unmapped is a memory without a RAM map that records where it was read.
type unmapped struct {
	bridge.Memory
	highest bridge.PhysAddr
}

func (u *unmapped) Info() bridge.Info { return bridge.Info{Name: "unmapped"} }

func (u *unmapped) ReadPhys(ctx context.Context, ops []bridge.Op) error {
	for _, op := range ops {
		u.highest = max(u.highest, op.Addr)
	}
	return u.Memory.ReadPhys(ctx, ops)
}

// TestFindReadsOnlyRAM has trampolines that lead to devices, before the right
// one, in a memory without a map.
func TestFindReadsOnlyRAM(t *testing.T) {
	const device = 0xfee00000
	for levels := 4; levels <= 5; levels++ {
		d := deadKernel(levels)
		d.AddTrampoline(0x40000)
		// Nothing in the table but one entry, rubbish in the table, and a table below it that was
		// used for something else.
		d.AddTrampolineHeader(0x9d000)
		d.Put64(0x9cff8, device|memimage.Present)
		d.AddTrampolineHeader(0x9b000)
		for pa := bridge.PhysAddr(0x9a000); pa < 0x9b000; pa += 8 {
			d.Put64(pa, device|memimage.Present)
		}
		reused := d.Page()
		for i := bridge.PhysAddr(0); i < 4096; i += 8 {
			d.Put64(reused+i, device|memimage.Present|memimage.User)
		}
		d.AddTrampoline(0x98000)
		d.Put64(0x98ff8, uint64(reused)|memimage.Present)
		mem := &unmapped{Memory: bridgetest.NewFake(d.RAM)}
		k, err := find(bridge.NewGuard(mem, nil), &Options{Symbols: vmlinuxOf(d, memimage.BuildID)})
		if err != nil {
			t.Fatal(err)
		}
		isKernel(t, k, d, linux.ByTrampoline)
		if end := bridge.PhysAddr(len(d.RAM)); mem.highest >= end {
			t.Errorf("%d levels: phys %#x was read, RAM ends at %#x", levels, uint64(mem.highest), uint64(end))
		}
	}
}

func TestFindRejectsDecoys(t *testing.T) {
	d := deadKernel(4)
	d.AddTrampoline(0x30000)
	// A trampoline whose table maps nothing; and one whose kernel begins after where it would
	// start CPUs.
	d.AddTrampoline(0x90000)
	empty := d.Page()
	d.Put64(empty+510*8, uint64(d.Page())|memimage.Present)
	d.Put64(0x90ff8, uint64(empty)|memimage.Present)
	d.AddTrampoline(0x80000)
	d.Put64(0x81000, 0xffffffff80000000)
	k, err := find(bridgetest.NewFake(d.RAM), &Options{Symbols: vmlinuxOf(d, memimage.BuildID)})
	if err != nil {
		t.Fatal(err)
	}
	isKernel(t, k, d, linux.ByTrampoline)

	clear(d.RAM[0x31000:0x32000])
	clear(d.RAM[d.TextPhys+8<<21:][:16]) // its banner
	_, err = find(bridgetest.NewFake(d.RAM), &Options{Symbols: vmlinuxOf(d, memimage.BuildID)})
	for _, want := range []string{
		"no kernel was found: ", "trampoline at phys 0x90000: CR3 0x90000 maps no kernel",
		"trampoline at phys 0x80000: it starts CPUs at", "no banner", "no VMCOREINFO",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q in it", err, want)
		}
	}
}

// TestFindRejectsContradictions has a banner and a note that lead to page tables of a kernel
// at another place.
func TestFindRejectsContradictions(t *testing.T) {
	first := memimage.NewKernel(&memimage.KernelOptions{TextPhys: 40 << 20})
	copied := memimage.NewKernel(&memimage.KernelOptions{In: first.Image, TextPhys: 16 << 20})
	copy(first.RAM[copied.InitTop():][:4096], first.RAM[first.InitTop():][:4096])
	at := first.AddVMCoreInfo()
	note := string(first.RAM[at : at+4096])
	right, wrong := fmt.Sprintf("phys_base)=%d", 40<<20-0x1000000), fmt.Sprintf("phys_base)=%d", 16<<20-0x1000000)
	copy(first.RAM[at:], strings.Replace(note, right, wrong, 1))
	mem := bridgetest.NewFake(first.RAM)
	k, err := find(mem, &Options{VMCoreInfo: at, Symbols: vmlinuxOf(first, memimage.BuildID)})
	if err != nil {
		t.Fatal(err)
	}
	isKernel(t, k, first, linux.ByBanner)
	if k.Root.Table() != first.InitTop() {
		t.Errorf("root at phys %#x, want that of the banner's own kernel, %#x", uint64(k.Root.Table()), uint64(first.InitTop()))
	}
}

// TestFindWithTwoKernels has the kernel that runs, and left a trampoline, next to one of another
// build.
func TestFindWithTwoKernels(t *testing.T) {
	running := memimage.NewKernel(&memimage.KernelOptions{TextPhys: 40 << 20, Slide: testSlide, BuildID: "\xd0\x0d\xfe\xed"})
	dead := memimage.NewKernel(&memimage.KernelOptions{In: running.Image, TextPhys: 16 << 20, Slide: testSlide})
	running.AddTrampoline(testTable)
	running.AddVMCoreInfo()
	mem := bridgetest.NewFake(running.RAM)
	for _, tc := range []struct {
		name string
		o    Options
		want *memimage.Kernel
		by   linux.Method
	}{
		{"no vmlinux", Options{}, running, linux.ByTrampoline},
		{"that of the one that runs", Options{Symbols: vmlinuxOf(running, running.BuildID)}, running, linux.ByTrampoline},
		{"that of the other", Options{Symbols: vmlinuxOf(dead, dead.BuildID)}, dead, linux.ByBanner},
		{"that of the other, and a CR3 of the one that runs",
			Options{CR3: running.CR3, Symbols: vmlinuxOf(dead, dead.BuildID)}, dead, linux.ByBanner},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k, err := find(mem, &tc.o)
			if err != nil {
				t.Fatal(err)
			}
			isKernel(t, k, tc.want, tc.by)
		})
	}

	before := mem.Counts().Reads
	_, err := find(mem, &Options{Symbols: vmlinuxOf(dead, "\xde\xad")})
	if !errors.Is(err, linux.ErrOtherKernel) {
		t.Fatalf("a vmlinux of neither: %v", err)
	}
	if n := mem.Counts().Reads - before; n > 300 {
		t.Errorf("a vmlinux of neither: %d reads, as if it could still be in RAM", n)
	}
	for _, want := range []string{"no kernel of this vmlinux was found: ", "memory has d00dfeed", "memory has cafebabe"} {
		if !strings.Contains(err.Error(), want) || strings.Count(err.Error(), want) > 1 {
			t.Errorf("%v; want %q in it, once", err, want)
		}
	}
	if _, err = find(mem, &Options{Symbols: symbols.NewTable(nil, nil)}); !errors.Is(err, linux.ErrOtherKernel) {
		t.Errorf("a program for a vmlinux: %v", err)
	}
}

// TestFindReadsOneKernel has a kernel whose own top-level table was overwritten with that of
// another.
func TestFindReadsOneKernel(t *testing.T) {
	other := memimage.NewKernel(&memimage.KernelOptions{TextPhys: 40 << 20, Slide: testSlide})
	d := memimage.NewKernel(&memimage.KernelOptions{In: other.Image, TextPhys: 16 << 20, Slide: testSlide})
	d.AddTrampoline(testTable)
	copy(d.RAM[d.InitTop():][:4096], d.RAM[other.InitTop():])
	k, err := find(bridgetest.NewFake(d.RAM), &Options{Symbols: vmlinuxOf(d, d.BuildID)})
	if err != nil {
		t.Fatal(err)
	}
	isKernel(t, k, d, linux.ByTrampoline)
	if k.Root.Table() != testTable {
		t.Errorf("root at phys %#x, want that of the trampoline", uint64(k.Root.Table()))
	}
}

func TestFindWithoutRAMMap(t *testing.T) {
	for _, vmlinux := range []bool{false, true} {
		d := deadKernel(4)
		d.AddVMCoreInfo()
		o := &Options{}
		if vmlinux {
			o.Symbols = vmlinuxOf(d, memimage.BuildID)
		}
		mem := &unmapped{Memory: bridgetest.NewFake(d.RAM)}
		_, err := find(bridge.NewGuard(mem, nil), o)
		if !errors.Is(err, ErrNoRAMMap) || strings.Count(err.Error(), ErrNoRAMMap.Error()) != 1 {
			t.Errorf("vmlinux %v: %v; want once that there is no map", vmlinux, err)
		}
		if mem.highest >= 0xa0000 {
			t.Errorf("phys %#x was read", uint64(mem.highest))
		}
	}
}

func TestFindEndsOnTimeout(t *testing.T) {
	d := deadKernel(4)
	d.AddTrampoline(testTable)
	for name, addr := range map[string]bridge.PhysAddr{"low memory": 0x9e000, "the page tables": 0x100000} {
		fake := bridgetest.NewFake(d.RAM)
		fake.Fail(addr, 0x4000, bridge.ErrTimeout)
		_, err := find(fake, nil)
		if none := (*NotFoundError)(nil); !errors.Is(err, bridge.ErrTimeout) || errors.As(err, &none) {
			t.Errorf("%s is silent: %v", name, err)
		}
		if n := fake.Counts().Reads; n > 40 {
			t.Errorf("%s is silent: %d reads", name, n)
		}
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	fake := bridgetest.NewFake(d.RAM)
	if _, err := Kernel(done, mmu.New(fake, nil), fake, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestFindWithoutLowMemory(t *testing.T) {
	d := deadKernel(4)
	fake := bridgetest.NewFake(d.RAM)
	fake.Fail(0, 0xa0000, bridge.ErrRefused)
	_, err := find(fake, nil)
	if want := "of 158, 158 could not be read, the first: "; err == nil || !strings.Contains(err.Error(), want) ||
		!errors.Is(err, bridge.ErrRefused) {
		t.Errorf("%v; want %q in it", err, want)
	}
}

func TestFindReportsProgress(t *testing.T) {
	d := deadKernel(4)
	fake := bridgetest.NewFake(d.RAM[:1<<20])
	fake.Place(2<<30, d.RAM[1<<20:])
	var last, total, calls uint64
	_, err := find(fake, &Options{Progress: func(n, of uint64) {
		if n <= last || n > of {
			t.Errorf("%d of %d after %d", n, of, last)
		}
		last, total, calls = n, of, calls+1
	}})
	if err == nil || calls < 3 || total != uint64(len(d.RAM)) || last < total-4096 {
		t.Errorf("%d calls, the last %d of %d: %v", calls, last, total, err)
	}
}

// TestFindBoundsDecoys has a note on every page that leads to nothing.
func TestFindBoundsDecoys(t *testing.T) {
	d := deadKernel(4)
	note := d.VMCoreInfo()
	ram := make([]byte, 4<<20)
	for at := 0; at < len(ram); at += 4096 {
		copy(ram[at:], note)
	}
	_, err := find(bridgetest.NewFake(ram), nil)
	if want := "256 places look as if"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want %q in it", err, want)
	}
	var tried []error
	for i := range 100 {
		tried = append(tried, fmt.Errorf("try %d", i))
	}
	const want = "no kernel was found: try 0; try 1; try 2; 94 more of that kind; try 97; try 98; try 99"
	if got := (&NotFoundError{tried}).Error(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
