package linux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"physgdb/bridge"
	"physgdb/mmu"
)

// conventionalEnd is where the memory ends that every PC has from address 0 on: 640 KiB.
const conventionalEnd bridge.PhysAddr = 0xa0000

// trampoline is the header of what a kernel puts below 1 MiB to start further CPUs, and to wake from sleep
// (struct trampoline_header, arch/x86/include/asm/realmode.h). On x86-64 the page before it is a top-level page table:
// its first entry maps low memory, its upper half is a copy of the kernel's (setup_real_mode, arch/x86/realmode/init.c).
type trampoline struct {
	start     uint64 // virtual address where a new CPU enters the kernel
	levels    int    // of the page tables
	encrypted bool   // the machine encrypts its memory (SME)
}

const trampolineSize = 8 + 8 + 4 + 4 // start, efer, cr4, flags

// parseTrampoline reads what lies at the start of a page as the header of a trampoline, and reports whether it can be
// one.
func parseTrampoline(p []byte) (t trampoline, ok bool) {
	// Intel SDM vol. 3A, 2.2.1 and 2.5: long mode is on, no bit is set that EFER lacks, and PAE is on as paging needs it.
	const lme, efer, pae, la57 = 1 << 8, 1<<16 - 1, 1 << 5, 1 << 12
	const flagEncrypted = 1 << 0 // TH_FLAGS_SME_ACTIVE
	t.start = binary.LittleEndian.Uint64(p)
	features := binary.LittleEndian.Uint64(p[8:])
	cr4 := binary.LittleEndian.Uint32(p[16:])
	if t.start < ImageBase || t.start >= ImageBase+imageSpan || features&lme == 0 || features&^efer != 0 || cr4&pae == 0 {
		return t, false
	}
	t.levels = 4
	if cr4&la57 != 0 {
		t.levels = 5
	}
	t.encrypted = binary.LittleEndian.Uint32(p[20:])&flagEncrypted != 0
	return t, true
}

// byTrampoline looks at every page of conventional memory, from the top on: the kernel takes the highest that is free.
func (f *finder) byTrampoline(ctx context.Context) (*Kernel, error) {
	p := &probe{size: trampolineSize, trusted: true, hit: func(at bridge.PhysAddr, header []byte) (*Kernel, error) {
		if t, ok := parseTrampoline(header); ok {
			return f.tryTrampoline(ctx, at, t)
		}
		return nil, nil
	}}
	return f.search(ctx, p, conventionalPages(), "no real-mode trampoline in the pages below 640 KiB leads to it")
}

// conventionalPages are the pages where a trampoline's header may begin, downwards.
func conventionalPages() iter.Seq[bridge.PhysAddr] {
	return func(yield func(bridge.PhysAddr) bool) {
		for at := conventionalEnd - bridge.PageSize; at > bridge.PageSize && yield(at); {
			at -= bridge.PageSize
		}
	}
}

func (f *finder) tryTrampoline(ctx context.Context, at bridge.PhysAddr, t trampoline) (*Kernel, error) {
	table := at - bridge.PageSize
	where := fmt.Sprintf("real-mode trampoline at phys %#x", uint64(table))
	c := &candidate{rung: ByTrampoline, where: where, cr3: uint64(table), levels: t.levels}
	c.fits = func(l *Location) error {
		if t.start < l.Text {
			return fmt.Errorf("it starts CPUs at %#x, before the kernel's text at %#x", t.start, l.Text)
		}
		return nil
	}
	if err := f.checkTables(ctx, table, t.levels); err != nil {
		if t.encrypted {
			err = fmt.Errorf("%w (the machine encrypts its memory, SME: what is read of it may be scrambled)", err)
		}
		return nil, f.setback(ctx, fmt.Errorf("%s: %w", where, err))
	}
	k, err := f.try(ctx, c)
	if k == nil {
		return nil, err
	}
	return k, k.useInitTop(ctx)
}

// checkTables follows a trampoline's page tables by hand to the one that maps the kernel image, and makes sure that each
// is a kernel's before it goes where that leads. Nobody vouches for them: what an earlier kernel left may have been used
// for anything since, and what is no address may be a device's.
func (f *finder) checkTables(ctx context.Context, table bridge.PhysAddr, levels int) error {
	const present, size = 1 << 0, 8 // of an entry
	page := make([]byte, bridge.PageSize)
	var root mmu.Root
	for level := levels; level >= gibLevel; level-- {
		if _, err := bridge.Read(ctx, f.mem, table, page, true); err != nil {
			return err
		}
		s := tableShapeOf(level, levels)
		root.CR3 = binary.LittleEndian.Uint64(page[s.image*size:])
		root.CBit |= encryptionBit(root.CR3)
		next := root.Table()
		wild := s.inImage && max(next, table)-min(next, table) >= imageSpan
		used := page[s.used*size] & page[s.image*size] & present
		if wild || used == 0 || len(bytes.Trim(page[s.from*size:s.to*size], "\x00")) > 0 {
			return fmt.Errorf("what lies at phys %#x is no page table of a kernel", uint64(table))
		}
		table = next
	}
	return nil
}

// gibLevel is the level of a table whose entries map 1 GiB each.
const gibLevel = 3

// tableShape says how to know one of the page tables of a trampoline.
type tableShape struct {
	image, used int  // entries that lead somewhere: to the kernel image, and another
	from, to    int  // entries that are empty: from one to before another
	inImage     bool // it lies in the image itself, side by side with what it leads to
}

func tableShapeOf(level, levels int) tableShape {
	const entries = bridge.PageSize / 8
	switch level {
	case levels: // in the lower half only the first is used, for low memory
		return tableShape{image: entries - 1, used: 0, from: 1, to: entries / 2}
	case gibLevel: // image and fixmap alone (level3_kernel_pgt, arch/x86/kernel/head_64.S)
		return tableShape{image: entries - 2, used: entries - 2, to: entries - 2, inImage: true}
	}
	return tableShape{image: entries - 1, used: entries - 1, inImage: true} // level4_kernel_pgt
}

// useInitTop moves to the kernel's own top-level table, if its vmlinux says where that is. The trampoline's is a copy
// made early: what was mapped later by another of its entries, memory that was plugged in say, is missing there.
func (k *Kernel) useInitTop(ctx context.Context) error {
	va, ok := k.Addr("init_top_pgt")
	if !ok {
		return nil
	}
	l, err := locate(ctx, k.m, uint64(k.TextPhys)+(va-k.Text), k.Root.Levels)
	switch {
	case ctx.Err() != nil || errors.Is(err, bridge.ErrTimeout):
		return err
	case err != nil || l.Text != k.Text || l.TextPhys != k.TextPhys:
		return nil // damaged: the copy serves
	}
	k.Location = *l
	k.Space, err = k.m.Space(l.Root)
	return err
}

// leaveTrampoline goes over to the kernel's own page tables, once its symbols tell where they are. Those of the trampoline map
// the lowest memory at address 0, too: what reads through a null pointer, or through a per-CPU variable without its CPU, would
// find something there.
func (k *Kernel) leaveTrampoline(ctx context.Context) error {
	if k.FoundBy != ByTrampoline || k.Symbols == nil {
		return nil
	}
	space, err := k.SpaceOf(ctx, k.lastingRoot(ctx).CR3)
	if err != nil {
		return ctx.Err() // damaged: the trampoline's are all there is
	}
	k.Space, k.Root = space, space.Root()
	return nil
}
