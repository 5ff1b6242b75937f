package find

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"

	"physgdb/bridge"
	"physgdb/mmu"
	"physgdb/symbols/linux"
)

// conventionalEnd is the end of conventional memory, which every PC has from address 0 on: 640 KiB.
const conventionalEnd bridge.PhysAddr = 0xa0000

// trampoline is the header of the code below 1 MiB that starts further CPUs and resumes from sleep
// (struct trampoline_header, arch/x86/include/asm/realmode.h). On x86-64 the page before it is a
// top-level page table: its first entry maps low memory, and its upper half is a copy of the
// kernel's (setup_real_mode, arch/x86/realmode/init.c).
type trampoline struct {
	start     uint64 // virtual address where a new CPU enters the kernel
	levels    int    // of the page tables
	encrypted bool   // the machine encrypts its memory (SME)
}

const trampolineSize = 8 + 8 + 4 + 4 // start, efer, cr4, flags

// parseTrampoline decodes the start of a page as the header of a trampoline, and reports whether it
// is plausible.
func parseTrampoline(p []byte) (t trampoline, ok bool) {
	// Intel SDM vol. 3A, 2.2.1 and 2.5: long mode is on, no bit is set that EFER lacks, and PAE is
	// on as paging needs it.
	const lme, efer, pae, la57 = 1 << 8, 1<<16 - 1, 1 << 5, 1 << 12
	const flagEncrypted = 1 << 0 // TH_FLAGS_SME_ACTIVE
	t.start = binary.LittleEndian.Uint64(p)
	features := binary.LittleEndian.Uint64(p[8:])
	cr4 := binary.LittleEndian.Uint32(p[16:])
	if t.start < linux.ImageBase || t.start >= linux.ImageBase+linux.ImageSpan || features&lme == 0 || features&^efer != 0 || cr4&pae == 0 {
		return t, false
	}
	t.levels = 4
	if cr4&la57 != 0 {
		t.levels = 5
	}
	t.encrypted = binary.LittleEndian.Uint32(p[20:])&flagEncrypted != 0
	return t, true
}

// byTrampoline reads every page of conventional memory, from the top on: the kernel uses the
// highest free page.
func (f *finder) byTrampoline(ctx context.Context) (*linux.Kernel, error) {
	p := &probe{size: trampolineSize, trusted: true, hit: func(at bridge.PhysAddr, header []byte) (*linux.Kernel, error) {
		if t, ok := parseTrampoline(header); ok {
			return f.tryTrampoline(ctx, at, t)
		}
		return nil, nil
	}}
	return f.search(ctx, p, conventionalPages(), "no real-mode trampoline in the pages below 640 KiB leads to it")
}

// conventionalPages returns the pages at whose start the header of a trampoline can be, in
// descending order.
func conventionalPages() iter.Seq[bridge.PhysAddr] {
	return func(yield func(bridge.PhysAddr) bool) {
		for at := conventionalEnd - bridge.PageSize; at > bridge.PageSize && yield(at); {
			at -= bridge.PageSize
		}
	}
}

func (f *finder) tryTrampoline(ctx context.Context, at bridge.PhysAddr, t trampoline) (*linux.Kernel, error) {
	table := at - bridge.PageSize
	where := fmt.Sprintf("real-mode trampoline at phys %#x", uint64(table))
	c := &candidate{method: linux.ByTrampoline, where: where, cr3: uint64(table), levels: t.levels}
	c.fits = func(l *linux.Location) error {
		if t.start < l.Text {
			return fmt.Errorf("it starts CPUs at %#x, before the kernel's text at %#x", t.start, l.Text)
		}
		return nil
	}
	if err := f.checkTables(ctx, table, t.levels); err != nil {
		if t.encrypted {
			err = fmt.Errorf("%w (the machine encrypts its memory, SME: what is read of it may be scrambled)", err)
		}
		return nil, f.recordFailure(ctx, fmt.Errorf("%s: %w", where, err))
	}
	return f.try(ctx, c)
}

// checkTables follows the page tables of a trampoline to the one that maps the kernel image, and
// verifies each table before it follows an entry. The tables are not trusted: memory of an earlier
// kernel may have been reused, and a word that is not an address may point to a device.
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
		root.CBit |= linux.EncryptionBit(root.CR3)
		next := root.Table()
		wild := s.inImage && max(next, table)-min(next, table) >= linux.ImageSpan
		used := page[s.used*size] & page[s.image*size] & present
		if wild || used == 0 || len(bytes.Trim(page[s.from*size:s.to*size], "\x00")) > 0 {
			return fmt.Errorf("what lies at phys %#x is no page table of a kernel", uint64(table))
		}
		table = next
	}
	return nil
}

// gibLevel is the level of tables whose entries map 1 GiB each.
const gibLevel = 3

// tableShape describes one of the page tables of a trampoline.
type tableShape struct {
	image, used int  // entries that are in use: that of the kernel image, and another
	from, to    int  // range of entries that are empty
	inImage     bool // it is part of the image, near the table that it points to
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
