package linux_test

import (
	"bytes"
	"context"
	"encoding/binary"
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
	linkText = 0xffffffff81000000
	slide    = 0x1c000000
	textPhys = bridge.PhysAddr(0x400000)
	buildID  = "\xca\xfe\xba\xbe"
)

// deadKernel is a memory with a KPTI pair of tables that map a kernel of nine 2 MiB pages of text and one of data, as
// Linux does, and a user page.
type deadKernel struct {
	*memimage.Image
	levels int
	cr3    uint64 // of the kernel's half; the user's follows it
}

func newKernel(levels int) *deadKernel {
	k := &deadKernel{Image: memimage.New(64 << 20), levels: levels}
	top := k.Page()
	for top&0x1fff != 0 { // the pair is aligned to its size
		top = k.Page()
	}
	user := k.Page()
	k.cr3 = uint64(top)
	for i := range uint64(9) {
		k.Map(top, levels, 2, linkText+slide+i<<21, textPhys+bridge.PhysAddr(i<<21), 0)
	}
	k.Map(top, levels, 2, linkText+slide+9<<21, textPhys+9<<21, memimage.Writable|memimage.NX)
	k.Map(user, levels, 2, linkText+slide+6<<21, textPhys+6<<21, 0) // the entry text
	for _, table := range []bridge.PhysAddr{top, user} {
		k.Map(table, levels, 1, 0x400000, 0x3000, memimage.User)
	}
	entry := k.Entry(top, levels, levels, 0x400000)
	k.Put64(entry, k.Get64(entry)|memimage.NX)

	notes := append([]byte{4, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0}, "GNU\x00"+buildID...)
	copy(k.RAM[textPhys+9<<21:], notes)
	copy(k.RAM[textPhys+8<<21:], "Linux version 6.1 (test)\n")
	binary.LittleEndian.PutUint32(k.RAM[textPhys+9<<21+0x100:], 70)
	copy(k.RAM[textPhys+9<<21+0x200:], []byte{0b101, 0, 0, 0, 0, 0, 0, 0, 0b100000}) // CPUs 0, 2, 69
	return k
}

func (k *deadKernel) mmu() *mmu.MMU { return mmu.New(bridgetest.NewFake(k.RAM), nil) }

func vmlinux(id string) *symbols.Table {
	const data = linkText + 9<<21
	return symbols.NewTable([]symbols.Symbol{
		{Name: "_text", Addr: linkText},
		{Name: "panic", Addr: linkText + 0x1000, Size: 0x200, Func: true},
		{Name: "linux_banner", Addr: linkText + 8<<21},
		{Name: "__start_notes", Addr: data}, {Name: "__stop_notes", Addr: data + 20},
		{Name: "nr_cpu_ids", Addr: data + 0x100}, {Name: "__cpu_possible_mask", Addr: data + 0x200},
		{Name: "runqueues", Addr: 0x35e80},
	}, []byte(id))
}

func TestLocate(t *testing.T) {
	for _, tc := range []struct {
		name       string
		real, told int // levels
		cr3        func(k *deadKernel) uint64
	}{
		{"4 levels", 4, 4, func(k *deadKernel) uint64 { return k.cr3 }},
		{"5 levels", 5, 5, func(k *deadKernel) uint64 { return k.cr3 }},
		{"4 levels, not told", 4, 0, func(k *deadKernel) uint64 { return k.cr3 }},
		{"5 levels, not told", 5, 0, func(k *deadKernel) uint64 { return k.cr3 }},
		{"a PCID in CR3", 4, 4, func(k *deadKernel) uint64 { return k.cr3 | 0x123 }},
		{"the user half of a pair", 4, 4, func(k *deadKernel) uint64 { return k.cr3 + 0x1000 }},
		{"the user half with its PCID", 4, 4, func(k *deadKernel) uint64 { return k.cr3 + 0x1806 }},
		{"the user half, 5 levels, not told", 5, 0, func(k *deadKernel) uint64 { return k.cr3 + 0x1000 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := newKernel(tc.real)
			fake := bridgetest.NewFake(k.RAM)
			l, err := linux.Locate(ctx, mmu.New(fake, nil), tc.cr3(k), tc.told)
			if err != nil {
				t.Fatal(err)
			}
			if l.Text != linkText+slide || l.TextPhys != textPhys || l.Root.Levels != tc.real || !l.Root.LowNX {
				t.Errorf("found %+v", l)
			}
			if uint64(l.Root.Table()) != k.cr3 {
				t.Errorf("root %#x, want that of the kernel, %#x", uint64(l.Root.Table()), k.cr3)
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

func TestLocateRefuses(t *testing.T) {
	k := newKernel(4)
	for name, cr3 := range map[string]uint64{
		"an empty page": 0x5000, "no RAM": 0x7fff0000, "text": uint64(textPhys), "zero": 0,
	} {
		if l, err := linux.Locate(ctx, k.mmu(), cr3, 0); err == nil || !strings.Contains(err.Error(), "maps no kernel") {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
}

func TestAttach(t *testing.T) {
	d := newKernel(4)
	k, err := linux.Attach(ctx, d.mmu(), &linux.Options{CR3: d.cr3, Symbols: vmlinux(buildID)})
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
	if cpus, err := k.CPUs(ctx); err != nil || len(cpus) != 3 || cpus[1] != 2 || cpus[2] != 69 {
		t.Errorf("CPUs %v, %v; want 0, 2, 69", cpus, err)
	}
	if s, err := k.SpaceOf(ctx, d.cr3+0x1000); err != nil || uint64(s.Root().Table()) != d.cr3 {
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

func TestAttachRefusesAnotherVmlinux(t *testing.T) {
	d := newKernel(4)
	for name, table := range map[string]*symbols.Table{
		"another build": vmlinux("\xde\xad"), "no build-id": vmlinux(""), "no kernel": symbols.NewTable(nil, nil),
	} {
		_, err := linux.Attach(ctx, d.mmu(), &linux.Options{CR3: d.cr3, Symbols: table})
		if !errors.Is(err, linux.ErrOtherKernel) {
			t.Errorf("%s: %v, want %v", name, err, linux.ErrOtherKernel)
		}
	}
	k, err := linux.Attach(ctx, d.mmu(), &linux.Options{CR3: d.cr3})
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
