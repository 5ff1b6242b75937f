package iomem

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/bridge/bridgetest"
	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/test/kmemtest"
	"physgdb/test/memimage"
)

// iomem is what a kernel of 24 MiB has found: its image is at 4 MiB. The name of a PCI bus is a
// string of its own.
func iomem() []memimage.Resource {
	return []memimage.Resource{
		{Start: 0, Last: 0xfff, Name: "Reserved"},
		{Start: 0x1000, Last: 0x9fbff, Name: "System RAM"},
		{Start: 0xa0000, Last: 0xbffff, Name: "PCI Bus 0000:00"},
		{Start: 0x100000, Last: 0x17fffff, Name: "System RAM", Children: []memimage.Resource{
			{Start: 0x400000, Last: 0x15fffff, Name: "Kernel code"},
			{Start: 0x1600000, Last: 0x17fffff, Name: "Kernel data"},
		}},
		{Start: 0xfed00000, Last: 0xfed003ff, Name: "HPET 0", Children: []memimage.Resource{
			{Start: 0xfed00000, Last: 0xfed003ff, Name: "PNP0103:00", Children: []memimage.Resource{
				{Start: 0xfed00100, Last: 0xfed001ff, Name: ""},
			}},
		}},
		{Start: 0x100000000, Last: 0x1ffffffff, Name: "Persistent Memory", Children: []memimage.Resource{
			{Start: 0x140000000, Last: 0x17fffffff, Name: "System RAM (kmem)"},
		}},
	}
}

const iomemText = `00000000-00000fff : Reserved
00001000-0009fbff : System RAM
000a0000-000bffff : PCI Bus 0000:00
00100000-017fffff : System RAM
  00400000-015fffff : Kernel code
  01600000-017fffff : Kernel data
fed00000-fed003ff : HPET 0
  fed00000-fed003ff : PNP0103:00
    fed00100-fed001ff : 
100000000-1ffffffff : Persistent Memory
  140000000-17fffffff : System RAM (kmem)
`

// resourceText writes resources as /proc/iomem does.
func resourceText(list []Resource) string {
	var b strings.Builder
	for _, r := range list {
		fmt.Fprintf(&b, "%s%08x-%08x : %s\n", strings.Repeat("  ", r.Depth), uint64(r.Start), uint64(r.Last), r.Name)
	}
	return b.String()
}

// resourceTypes is how the kernels of memimage lay a struct resource out.
func resourceTypes() kmemtest.Structs {
	f := kmemtest.Structs{"resource": {Size: memimage.ResourceSize}}
	for name, offset := range map[string]uint64{
		"start": memimage.ResourceStart, "end": memimage.ResourceEnd, "name": memimage.ResourceName,
		"sibling": memimage.ResourceSibling, "child": memimage.ResourceChild,
	} {
		f["resource."+name] = symbols.Field{Offset: offset, Size: 8, Elem: 8}
	}
	return f
}

var ctx = context.Background()

// debug is a vmlinux that has the types of resources.
type debug struct{}

func (debug) Types() (symbols.Types, error)       { return resourceTypes(), nil }
func (debug) Unwinder() (symbols.Unwinder, error) { return nil, errors.New("no unwind tables") }

// deadKernel makes a memory with a kernel.
func deadKernel() *memimage.Kernel {
	return memimage.NewKernel(&memimage.KernelOptions{Levels: 4, Slide: 0x1c000000})
}

// vmlinuxOf is the symbol table of k, with its build-id.
func vmlinuxOf(k *memimage.Kernel) *symbols.Table {
	var syms []symbols.Symbol
	for _, s := range k.Symbols() {
		syms = append(syms, symbols.Symbol{Name: s.Name, Addr: s.Link, Size: s.Size, Func: s.Func})
	}
	return symbols.NewTable(syms, []byte(memimage.BuildID))
}

// resourceful is a kernel with the tree of iomem, attached to, and where each part of the tree lies
// in its memory.
func resourceful(t *testing.T, tree []memimage.Resource) (*linux.Kernel, *bridgetest.Fake, *memimage.Kernel, []uint64) {
	t.Helper()
	d := deadKernel()
	addrs := d.AddResources(tree...)
	fake := bridgetest.NewFake(d.RAM)
	k, err := linux.Attach(ctx, mmu.New(fake, nil), &linux.Options{
		CR3: d.CR3, Symbols: vmlinuxOf(d), Debug: debug{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return k, fake, d, addrs
}

func TestResources(t *testing.T) {
	k, fake, _, _ := resourceful(t, iomem())
	before := fake.Counts().Batches
	list, err := Resources(ctx, k)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(iomemText, resourceText(list)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// The root, a batch for each generation of the tree, and one for the names.
	if n := fake.Counts().Batches - before; n > 10 {
		t.Errorf("%d batches", n)
	}
	ram, err := RAMMap(ctx, k)
	if want := "0x1000-0x9fbff, 0x100000-0x17fffff, 0x140000000-0x17fffffff"; err != nil || ram.String() != want {
		t.Errorf("RAM map %v, %v; want %s", ram, err, want)
	}
}

func TestDamagedResources(t *testing.T) {
	lines := strings.SplitAfter(iomemText, "\n")
	for _, tc := range []struct {
		name string
		// damage is done to the resources by their addresses: the root's, then one for each line.
		damage func(put func(addr, offset, v uint64), at []uint64)
		kept   int // lines from the start
		err    string
	}{
		{"a sibling that leads back", func(put func(addr, offset, v uint64), at []uint64) {
			put(at[3], memimage.ResourceSibling, at[2])
		}, 3, "twice"},
		{"a child that leads to the root", func(put func(addr, offset, v uint64), at []uint64) {
			put(at[11], memimage.ResourceChild, at[0])
		}, 11, "twice"},
		{"its own child", func(put func(addr, offset, v uint64), at []uint64) {
			put(at[11], memimage.ResourceChild, at[11])
		}, 11, "twice"},
		{"a wild pointer", func(put func(addr, offset, v uint64), at []uint64) {
			put(at[10], memimage.ResourceSibling, 0xffff888012345678)
		}, 11, "struct resource at 0xffff888012345678: "},
		{"a pointer that is no address", func(put func(addr, offset, v uint64), at []uint64) {
			put(at[4], memimage.ResourceSibling, 0x6b6b6b6b6b6b6b6b)
		}, 6, "struct resource at 0x6b6b6b6b6b6b6b6b: "},
		{"an end before the start", func(put func(addr, offset, v uint64), at []uint64) {
			put(at[4], memimage.ResourceEnd, 0x50000)
		}, 3, "0x100000-0x50000 is out of place"},
		{"siblings that overlap", func(put func(addr, offset, v uint64), at []uint64) {
			put(at[10], memimage.ResourceStart, 0xfed00000)
		}, 9, "is out of place"},
		{"a child beyond its parent", func(put func(addr, offset, v uint64), at []uint64) {
			put(at[11], memimage.ResourceEnd, 0x200000000)
		}, 10, "is out of place"},
		{"a name that cannot be read", func(put func(addr, offset, v uint64), at []uint64) {
			put(at[11], memimage.ResourceName, 0x100)
		}, 10, "the name of 0x140000000-0x17fffffff"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k, _, d, at := resourceful(t, iomem())
			tc.damage(func(addr, offset, v uint64) {
				binary.LittleEndian.PutUint64(d.RAM[uint64(d.AtVA(addr))+offset:], v)
			}, at)
			list, err := Resources(ctx, k)
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error %v, want %q in it", err, tc.err)
			}
			if got, want := resourceText(list), strings.Join(lines[:tc.kept], ""); !strings.HasPrefix(got, want) {
				t.Errorf("kept\n%swant at least\n%s", got, want)
			}
			if ram, err := RAMMap(ctx, k); err == nil {
				t.Errorf("the RAM map of a damaged list is used: %v", ram)
			}
		})
	}
}

func TestResourcesAreBounded(t *testing.T) {
	deep := memimage.Resource{Start: 0x1000, Last: 0x1fff, Name: "deep"}
	for range 100 {
		deep = memimage.Resource{Start: 0x1000, Last: 0x1fff, Name: "deep", Children: []memimage.Resource{deep}}
	}
	k, _, _, _ := resourceful(t, []memimage.Resource{deep})
	list, err := Resources(ctx, k)
	if len(list) != maxNested || err == nil {
		t.Errorf("of a tree 101 deep, %d; %v", len(list), err)
	}
}

func TestRAMMapContainsKernel(t *testing.T) {
	for name, tree := range map[string][]memimage.Resource{
		"no resources":                   nil,
		"no RAM":                         {{Start: 0, Last: 0x17fffff, Name: "Reserved"}},
		"RAM that begins after its text": {{Start: 0x500000, Last: 0x17fffff, Name: "System RAM"}},
		"RAM that ends within its text":  {{Start: 0x100000, Last: 0x8fffff, Name: "System RAM"}},
		"RAM without its page tables":    {{Start: 0x200000, Last: 0x17fffff, Name: "System RAM"}},
	} {
		k, _, _, _ := resourceful(t, tree)
		if ram, err := RAMMap(ctx, k); err == nil || !strings.Contains(err.Error(), "the kernel itself is not in it") {
			t.Errorf("%s: %v, %v", name, ram, err)
		}
	}
}

func TestResourcesWithoutSymbols(t *testing.T) {
	d := deadKernel()
	k, err := linux.Attach(ctx, mmu.New(bridgetest.NewFake(d.RAM), nil), &linux.Options{CR3: d.CR3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RAMMap(ctx, k); err == nil || !strings.Contains(err.Error(), "iomem_resource") {
		t.Errorf("%v", err)
	}
}
