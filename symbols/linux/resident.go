package linux

import (
	"fmt"

	"physgdb/bridge"
)

// Bits of an entry that is not present, as Linux uses them (arch/x86/include/asm/pgtable_types.h, pgtable_64.h).
const (
	pteProtNone = 1 << 8 // _PAGE_PROTNONE: no access for the process, yet in RAM
	pmdPSE      = 1 << 7 // in a PMD: a huge page that is being changed, yet in RAM
	pteAddrMask = 0x000f_ffff_ffff_f000

	swapTypeShift   = 59 // the type is bits 63..59
	swapOffsetFirst = 9  // the offset is bits 58..9, inverted (the L1TF guard, pgtable-invert.h)
	swapOffsetMask  = 1<<(swapTypeShift-swapOffsetFirst) - 1

	// Types above those of swap files (include/linux/swap.h, kernels from 5.19 with CONFIG_DEVICE_PRIVATE).
	swapHWPoison       = 23
	swapMigrationFirst = 24
	swapMigrationLast  = 26

	// migrationPFNBits is how much of a migration entry's offset is the page's frame number: MAX_PHYSMEM_BITS (52 with
	// 5-level paging, 46 else, of which the upper bits are zero on a machine with less memory) minus the page offset.
	migrationPFNBits = 46 - 12
)

// Resident decodes a page table entry that is not present, for [mmu.Options]: a process of a dead machine will never
// fault its pages back in, but many of those that it could not reach were still in RAM.
func Resident(level int, entry uint64) (base bridge.PhysAddr, why string, ok bool) {
	if entry&pteProtNone != 0 || level > 1 && entry&pmdPSE != 0 {
		return bridge.PhysAddr(^entry & pteAddrMask), "", true
	}
	kind := entry >> swapTypeShift
	switch {
	case kind < swapHWPoison:
		return 0, "swapped out", false
	case kind == swapHWPoison:
		return 0, "the page's memory is broken (hwpoison)", false
	case kind <= swapMigrationLast:
		offset := ^(entry >> swapOffsetFirst) & swapOffsetMask
		return bridge.PhysAddr(offset & (1<<migrationPFNBits - 1) * bridge.PageSize), "", true
	}
	return 0, fmt.Sprintf("a special entry (type %d: device memory or a marker)", kind), false
}
