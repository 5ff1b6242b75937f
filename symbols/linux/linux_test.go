package linux_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/test/memimage"
)

var ctx = context.Background()

const (
	linkText = memimage.LinkText
	slide    = 0x1c000000
	textPhys = bridge.PhysAddr(0x400000)
)

// newKernel makes a memory with a KPTI pair of tables that map a kernel, and a user page.
func newKernel(levels int) *memimage.Kernel {
	return memimage.NewKernel(&memimage.KernelOptions{Levels: levels, Slide: slide, TextPhys: textPhys})
}

func mmuOf(k *memimage.Kernel) *mmu.MMU { return mmu.New(bridgetest.NewFake(k.RAM), nil) }

// vmlinux is the symbol table of k, with a build-id.
func vmlinux(k *memimage.Kernel, id string) *symbols.Table {
	var syms []symbols.Symbol
	for _, s := range k.Symbols() {
		syms = append(syms, symbols.Symbol{Name: s.Name, Addr: s.Link, Size: s.Size, Func: s.Func})
	}
	return symbols.NewTable(syms, []byte(id))
}

func TestLocate(t *testing.T) {
	for _, tc := range []struct {
		name        string
		real, given int // levels
		cr3         func(k *memimage.Kernel) uint64
	}{
		{"4 levels", 4, 4, func(k *memimage.Kernel) uint64 { return k.CR3 }},
		{"5 levels", 5, 5, func(k *memimage.Kernel) uint64 { return k.CR3 }},
		{"4 levels, not given", 4, 0, func(k *memimage.Kernel) uint64 { return k.CR3 }},
		{"5 levels, not given", 5, 0, func(k *memimage.Kernel) uint64 { return k.CR3 }},
		{"a PCID in CR3", 4, 4, func(k *memimage.Kernel) uint64 { return k.CR3 | 0x123 }},
		{"the user half of a pair", 4, 4, func(k *memimage.Kernel) uint64 { return k.CR3 + 0x1000 }},
		{"the user half with its PCID", 4, 4, func(k *memimage.Kernel) uint64 { return k.CR3 + 0x1806 }},
		{"the user half, 5 levels, not given", 5, 0, func(k *memimage.Kernel) uint64 { return k.CR3 + 0x1000 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := newKernel(tc.real)
			fake := bridgetest.NewFake(k.RAM)
			l, err := linux.Locate(ctx, mmu.New(fake, nil), tc.cr3(k), tc.given)
			if err != nil {
				t.Fatal(err)
			}
			if l.Text != linkText+slide || l.TextPhys != textPhys || l.Root.Levels != tc.real || !l.Root.LowNX {
				t.Errorf("found %+v", l)
			}
			if uint64(l.Root.Table()) != k.CR3 {
				t.Errorf("root %#x, want that of the kernel, %#x", uint64(l.Root.Table()), k.CR3)
			}
			if want := int64(textPhys) - (slide + 0x1000000); l.PhysBase() != want || want >= 0 {
				t.Errorf("phys_base %#x, want %#x, a negative number", l.PhysBase(), want)
			}
			if reads := fake.Counts().Reads; reads > 16 {
				t.Errorf("%d reads", reads)
			}
		})
	}
}

// TestLocateWithEncryptedMemory has the C-bit of AMD's SME in every entry, and in CR3 or not.
func TestLocateWithEncryptedMemory(t *testing.T) {
	for _, bit := range []uint{47, 51} {
		for _, inCR3 := range []uint64{0, 1 << bit} {
			k := newKernel(4)
			for pa := bridge.PhysAddr(1 << 20); pa < textPhys; pa += 8 { // where the tables are
				if e := k.Get64(pa); e&memimage.Present != 0 {
					k.Put64(pa, e|1<<bit)
				}
			}
			l, err := linux.Locate(ctx, mmuOf(k), k.CR3|inCR3, 0)
			if err != nil || l.Text != linkText+slide || l.TextPhys != textPhys || l.Root.CBit != 1<<bit {
				t.Errorf("bit %d: %+v, %v", bit, l, err)
			}
		}
	}
}

func TestLocateRefuses(t *testing.T) {
	k := newKernel(4)
	for name, cr3 := range map[string]uint64{
		"an empty page": 0x5000, "no RAM": 0x7fff0000, "text": uint64(textPhys), "zero": 0,
	} {
		if l, err := linux.Locate(ctx, mmuOf(k), cr3, 0); err == nil || !strings.Contains(err.Error(), "maps no kernel") {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
}

func TestAttach(t *testing.T) {
	d := newKernel(4)
	k, err := linux.Attach(ctx, mmuOf(d), &linux.Options{CR3: d.CR3, Symbols: vmlinux(d, memimage.BuildID)})
	if err != nil {
		t.Fatal(err)
	}
	if k.Slide != slide {
		t.Errorf("slide %#x", k.Slide)
	}
	if a, _ := k.Addr("panic"); a != linkText+slide+0x1000 {
		t.Errorf("panic at %#x", a)
	}
	if a, _ := k.Addr("runqueues"); a != 0x35e80 {
		t.Errorf("a per-CPU symbol was moved: %#x", a)
	}
	if got := k.Name(linkText + slide + 0x1010); got != "panic+0x10/0x200" {
		t.Errorf("name %q", got)
	}
	if got := k.Banner(ctx); got != "Linux version 6.1 (test)" {
		t.Errorf("banner %q", got)
	}
	if s, err := k.SpaceOf(ctx, d.CR3+0x1000); err != nil || uint64(s.Root().Table()) != d.CR3 {
		t.Errorf("space of the user half: %+v, %v", s, err)
	}
	if _, err := k.SpaceOf(ctx, 0x5000); err == nil {
		t.Error("an empty page was taken for a root")
	}
	p := make([]byte, 5)
	if _, err := k.Space.ReadMemory(ctx, linkText+slide+8<<21, p); err != nil || !bytes.Equal(p, []byte("Linux")) {
		t.Errorf("read %q, %v", p, err)
	}
}

// TestBannerWithoutSymbols finds it in the image, after similar text.
func TestBannerWithoutSymbols(t *testing.T) {
	d := newKernel(4)
	at := textPhys + 3<<21 + 0xffffa
	copy(d.RAM[at-0x1000:], "Linux version %s # SMP\x00")
	copy(d.RAM[at:], "Linux version 6.1.0-test (me) #1 SMP\nmore")
	k, err := linux.Attach(ctx, mmuOf(d), &linux.Options{CR3: d.CR3})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := k.Banner(ctx), "Linux version 6.1.0-test (me) #1 SMP"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAttachRefusesOtherVmlinux(t *testing.T) {
	d := newKernel(4)
	for name, table := range map[string]*symbols.Table{
		"another build": vmlinux(d, "\xde\xad"), "no build-id": vmlinux(d, ""), "no kernel": symbols.NewTable(nil, nil),
	} {
		_, err := linux.Attach(ctx, mmuOf(d), &linux.Options{CR3: d.CR3, Symbols: table})
		if !errors.Is(err, linux.ErrOtherKernel) {
			t.Errorf("%s: %v, want %v", name, err, linux.ErrOtherKernel)
		}
	}
	k, err := linux.Attach(ctx, mmuOf(d), &linux.Options{CR3: d.CR3})
	if err != nil || k.Slide != slide {
		t.Errorf("without a vmlinux: %v", err)
	}
}

func TestResident(t *testing.T) {
	const base = 0x1234000
	inverted := ^uint64(base) & 0x000f_ffff_ffff_f000
	for _, tc := range []struct {
		name  string
		level int
		entry uint64
		base  bridge.PhysAddr
		why   string
	}{
		{"PROT_NONE", 1, inverted | 1<<8 | 1<<63, base, ""},
		{"a huge page being split", 2, inverted | 1<<7, base, ""},
		{"under migration", 1, 25<<59 | (^uint64(base>>12)&(1<<50-1))<<9, base, ""},
		{"in a swap file", 1, 1<<59 | 0x1ff<<9, 0, "swapped out"},
		{"poisoned", 1, 23 << 59, 0, "hwpoison"},
		{"a marker", 1, 31 << 59, 0, "type 31"},
	} {
		got, why, ok := linux.Resident(tc.level, tc.entry)
		if ok != (tc.why == "") || ok && got != tc.base || !strings.Contains(why, tc.why) {
			t.Errorf("%s: %#x, %q, %v", tc.name, uint64(got), why, ok)
		}
	}
}
