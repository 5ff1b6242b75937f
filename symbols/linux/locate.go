package linux

import (
	"context"
	"errors"
	"fmt"

	"physgdb/bridge"
	"physgdb/mmu"
)

// Addresses of an x86-64 kernel (Documentation/arch/x86/x86_64/mm.rst,
// arch/x86/include/asm/page_64_types.h).
const (
	ImageBase  = 0xffff_ffff_8000_0000 // __START_KERNEL_map
	ImageSpan  = 1 << 30               // the image lies within this much of it, with KASLR
	ImageAlign = 2 << 20               // CONFIG_PHYSICAL_ALIGN: _text is a multiple of this
	// defaultText is the default link address of _text: ImageBase + CONFIG_PHYSICAL_START.
	defaultText = 0xffff_ffff_8100_0000
	// maxBeforeData bounds the distance of the kernel's data from _text, in bytes; text and
	// read-only data of the largest kernels have some 50 MB.
	maxBeforeData = 256 << 20
)

// Location is the place of a kernel in memory.
type Location struct {
	Root     mmu.Root        // page tables that map all of the kernel
	Text     uint64          // virtual address of _text
	TextPhys bridge.PhysAddr // physical address of _text
	Note     bridge.PhysAddr // physical address of the VMCOREINFO note by which it was found, or 0
	DataOff  uint64          // distance of the data from _text; text and read-only data are before it
}

// PhysBase returns the kernel's phys_base: the physical address of an address of the image is the
// sum of phys_base and the address minus __START_KERNEL_map. It is often negative.
func (l *Location) PhysBase() int64 { return int64(l.TextPhys) - int64(l.Text-ImageBase) }

// kptiUserTable is the bit of CR3 that distinguishes the user half of a KPTI pair of top-level
// tables from the kernel's (PTI_PGTABLE_SWITCH_BIT, arch/x86/include/asm/processor-flags.h).
// Without KPTI it is part of the address.
const kptiUserTable = 1 << 12

// ErrNoKernel is the error for page tables that map no kernel.
var ErrNoKernel = errors.New("maps no kernel")

// Locate finds the kernel that a CR3 maps. levels is the number of levels of paging; if it is 0, 4
// and 5 are tried. It costs three or four reads if the first attempt succeeds.
func Locate(ctx context.Context, m *mmu.MMU, cr3 uint64, levels int) (*Location, error) {
	l, err := LocateFound(ctx, m, cr3, levels)
	if errors.Is(err, ErrNoKernel) {
		err = fmt.Errorf("%w; is it the CR3 of this machine, and of this boot?", err)
	}
	return l, err
}

// LocateFound is Locate for a CR3 that was found by a search.
func LocateFound(ctx context.Context, m *mmu.MMU, cr3 uint64, levels int) (*Location, error) {
	depths := []int{levels}
	if levels == 0 {
		depths = []int{4, 5}
	}
	candidates := []uint64{cr3}
	if cr3&kptiUserTable != 0 {
		candidates = append(candidates, cr3&^kptiUserTable)
	}
	var first error
	for _, cr3 := range candidates {
		for _, n := range depths {
			l, err := locateUnder(ctx, m, mmu.Root{CR3: cr3, Levels: n})
			if err == nil {
				return l, nil
			}
			if errors.Is(err, bridge.ErrTimeout) || ctx.Err() != nil {
				return nil, fmt.Errorf("look for a kernel under CR3 %#x: %w", cr3, err)
			}
			if first == nil {
				first = err
			}
		}
	}
	return nil, fmt.Errorf("CR3 %#x %w: %w", cr3, ErrNoKernel, first)
}

// locateUnder finds the kernel under one root. The first page of 2 MiB that is present in the range
// of the image begins with _text: the kernel unmaps the addresses around the image during boot
// (cleanup_highmap, arch/x86/mm/init_64.c).
func locateUnder(ctx context.Context, m *mmu.MMU, root mmu.Root) (*Location, error) {
	root, err := withCBit(ctx, m, root)
	if err != nil {
		return nil, err
	}
	space, err := m.Space(root)
	if err != nil {
		return nil, err
	}
	for off := uint64(0); off < ImageSpan; off += ImageAlign {
		mp, err := space.Translate(ctx, ImageBase+off)
		if errors.Is(err, mmu.ErrNotPresent) {
			if f := (*mmu.Fault)(nil); errors.As(err, &f) && f.Level > 2 {
				return nil, err // nothing at all is mapped there
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		l := &Location{Root: root, Text: ImageBase + off, TextPhys: mp.Phys(ImageBase + off)}
		if err := l.checkText(ctx, space); err != nil {
			return nil, err
		}
		l.Root.LowNX, err = marksUserNX(ctx, space)
		return l, err
	}
	return nil, fmt.Errorf("nothing is mapped from %#x on", uint64(ImageBase))
}

// withCBit finds out whether the machine encrypts its memory (AMD SME), from the top-level entry
// for the kernel or from CR3: the encryption bit is above the physical addresses of any memory (AMD
// APM vol. 2, 7.10; bit 47 on family 17h and 19h, bit 51 from Zen 4 on).
func withCBit(ctx context.Context, m *mmu.MMU, root mmu.Root) (mmu.Root, error) {
	root.CBit = EncryptionBit(root.CR3)
	space, err := m.Space(root)
	if err != nil {
		return root, err
	}
	top, err := space.Top(ctx)
	if err != nil {
		return root, err
	}
	root.CBit |= EncryptionBit(top[len(top)-1])
	return root, nil
}

// EncryptionBit returns the C-bit of v, or 0. With both possible bits set, v is not an address.
func EncryptionBit(v uint64) uint64 {
	const either = 1<<47 | 1<<51
	if v&either == either {
		return 0
	}
	return v & either
}

// maxMissing bounds how many tables before the kernel's data may be missing from memory. The images
// of some dumps are incomplete.
const maxMissing = 4

// checkText verifies that l is a kernel's image: first executable text and later writable data, all
// without user access and physically contiguous. The size of the text is no evidence: small kernels
// have a few MiB. The user half of a KPTI pair maps some of the text, and on CPUs without PCID all
// of it with the read-only data (pti_clone_kernel_text(), arch/x86/mm/pti.c), but never the data.
func (l *Location) checkText(ctx context.Context, space *mmu.Space) error {
	missing := 0
	for off := uint64(0); off < maxBeforeData && l.Text+off < ImageBase+ImageSpan; off += ImageAlign {
		mp, err := space.Translate(ctx, l.Text+off)
		var hole *bridge.AccessError
		switch {
		case off > 0 && errors.Is(err, mmu.ErrNotPresent):
			continue
		case off > 0 && missing < maxMissing && errors.As(err, &hole) && errors.Is(err, bridge.ErrNotRAM):
			missing++ // the table is missing from the dump
			continue
		case err != nil:
			return fmt.Errorf("no kernel text at %#x: %w", l.Text+off, err)
		}
		inPlace := mp.Flags&mmu.User == 0 && mp.Phys(l.Text+off) == l.TextPhys+bridge.PhysAddr(off)
		if !inPlace || off == 0 && mp.Flags&mmu.Executable == 0 {
			return fmt.Errorf("what is mapped at %#x is not part of a kernel (%v)", l.Text+off, mp.Flags)
		}
		if off > 0 && mp.Flags&mmu.Writable != 0 {
			l.DataOff = off
			return nil
		}
	}
	return fmt.Errorf("kernel text at %#x, but no data after it (the user half of a KPTI pair?)", l.Text)
}

// marksUserNX reports whether the kernel marks the top-level entries of user space NX, as in the
// kernel's half of a KPTI pair (__pti_set_user_pgtbl, arch/x86/mm/pti.c).
func marksUserNX(ctx context.Context, space *mmu.Space) (bool, error) {
	const present, user, noExec = 1 << 0, 1 << 2, 1 << 63
	top, err := space.Top(ctx)
	if err != nil {
		return false, err
	}
	marked := false
	for _, e := range top[:len(top)/2] {
		if e&present == 0 || e&user == 0 {
			continue
		}
		if e&noExec == 0 {
			return false, nil
		}
		marked = true
	}
	return marked, nil
}
