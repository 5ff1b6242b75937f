package linux

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"physgdb/mmu"
)

// Area is a range of the kernel's half of the address space that has one purpose.
type Area struct {
	First, Last uint64 // both included
	Name        string
}

// areaPlan has the areas that are the same in every kernel with as many levels of paging, and the
// addresses of the others without KASLR (Documentation/arch/x86/x86_64/mm.rst).
type areaPlan struct {
	fixed                        []Area
	pageOffset, vmalloc, vmemmap uint64 // default addresses
	maxVmalloc, maxVmemmap       uint64 // bytes
}

func planOf(levels int) areaPlan {
	fixed := []Area{
		{0xfffffe0000000000, 0xfffffe7fffffffff, "cpu_entry_area"},
		{0xffffff0000000000, 0xffffff7fffffffff, "espfix"},
		{0xffffffef00000000, 0xfffffffeffffffff, "EFI"},
		{0xffffffffff000000, 0xffffffffff5fffff, "fixmap"},
		{0xffffffffff600000, 0xffffffffff600fff, "vsyscall"},
	}
	if levels == 5 {
		return areaPlan{
			fixed:      append(fixed, Area{0xff10000000000000, 0xff10ffffffffffff, "LDT"}),
			pageOffset: 0xff11000000000000, vmalloc: 0xffa0000000000000, vmemmap: 0xffd4000000000000,
			maxVmalloc: 12800 << 40, maxVmemmap: 512 << 40,
		}
	}
	return areaPlan{
		fixed:      append(fixed, Area{0xffff880000000000, 0xffff887fffffffff, "LDT"}),
		pageOffset: 0xffff888000000000, vmalloc: 0xffffc90000000000, vmemmap: 0xffffea0000000000,
		maxVmalloc: 32 << 40, maxVmemmap: 1 << 40,
	}
}

// Areas returns the areas of the kernel's half of the address space: its image, its modules, its
// direct map and others, in the order of their addresses, without overlaps. It needs symbols. Areas
// that cannot be read, such as those of modules, are missing, and the error says why.
func (k *Kernel) Areas(ctx context.Context) ([]Area, error) {
	plan := planOf(k.Space.Root().Levels)
	all := append(plan.fixed, k.imageAreas()...)
	moved, movedErr := k.movedAreas(ctx, plan)
	loaded, loadedErr := k.Code.Areas(ctx)
	all = slices.Concat(all, moved, loaded)
	slices.SortFunc(all, func(a, b Area) int { return cmp.Compare(a.First, b.First) })
	apart := all[:0]
	for _, a := range all {
		if n := len(apart); a.Last >= a.First && (n == 0 || apart[n-1].Last < a.First) {
			apart = append(apart, a)
		}
	}
	return apart, cmp.Or(ctx.Err(), movedErr, loadedErr)
}

// imageAreas returns the parts of the kernel's image, by the symbols around them in the linker
// script (arch/x86/kernel/vmlinux.lds.S).
func (k *Kernel) imageAreas() []Area {
	var found []Area
	for _, part := range []struct{ name, start, end string }{
		{"kernel .text", "_text", "_etext"},
		{"kernel .rodata", "__start_rodata", "__end_rodata"},
		{"kernel .data", "_sdata", "_edata"},
		{"kernel .bss", "__bss_start", "__bss_stop"},
		{"kernel .brk", "__brk_base", "__brk_limit"},
	} {
		start, ok1 := k.Addr(part.start)
		end, ok2 := k.Addr(part.end)
		if ok1 && ok2 && ImageBase <= start && start < end {
			found = append(found, PagesOf(part.name, start, end-1))
		}
	}
	return found
}

// movedAreas returns the areas whose addresses are in variables of the kernel
// (arch/x86/kernel/head64.c).
func (k *Kernel) movedAreas(ctx context.Context, plan areaPlan) ([]Area, error) {
	bases := []uint64{plan.pageOffset, plan.vmalloc, plan.vmemmap}
	ops := make([]mmu.Op, len(bases))
	for i, name := range []string{"page_offset_base", "vmalloc_base", "vmemmap_base"} {
		if addr, ok := k.Addr(name); ok { // there is no such symbol if it is a constant
			ops[i] = mmu.Op{VA: addr, Buf: make([]byte, 8)}
		}
	}
	if err := k.Space.ReadAll(ctx, ops); err != nil {
		return nil, err
	}
	for i := range ops {
		if ops[i].Err != nil {
			return nil, fmt.Errorf("where the kernel's areas are: %w", ops[i].Err)
		}
		if ops[i].Buf != nil {
			bases[i] = binary.LittleEndian.Uint64(ops[i].Buf)
		}
	}
	direct, vmalloc, vmemmap := bases[0], bases[1], bases[2]
	if int64(direct) >= 0 || direct >= vmalloc || vmalloc >= vmemmap || vmemmap >= plan.fixed[0].First {
		return nil, fmt.Errorf("where the kernel's areas are: %#x, %#x and %#x make no sense: damaged", direct, vmalloc, vmemmap)
	}
	return []Area{
		{direct, vmalloc - 1, "direct map"},
		{vmalloc, min(vmemmap, vmalloc+plan.maxVmalloc) - 1, "vmalloc"},
		{vmemmap, min(plan.fixed[0].First, vmemmap+plan.maxVmemmap) - 1, "vmemmap"},
	}, nil
}

// PagesOf returns the area of the pages that a range of addresses is in: access rights are those of
// whole pages.
func PagesOf(name string, first, last uint64) Area {
	return Area{first &^ (mmu.PageSize - 1), last | (mmu.PageSize - 1), name}
}
