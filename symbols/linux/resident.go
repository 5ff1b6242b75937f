package linux

import (
	"fmt"

	"physgdb/bridge"
)

// Bits of an entry that is not present, as Linux uses them (arch/x86/include/asm/pgtable_types.h,
// pgtable_64.h).
const (
	pteProtNone = 1 << 8 // _PAGE_PROTNONE: in RAM, but not accessible for the process
	pmdPSE      = 1 << 7 // in a PMD: a huge page that is being changed, in RAM
	pteAddrMask = 0x000f_ffff_ffff_f000

	swapTypeShift   = 59 // the type is bits 63..59
	swapOffsetFirst = 9  // the offset is bits 58..9, inverted (the L1TF guard, pgtable-invert.h)
	swapOffsetMask  = 1<<(swapTypeShift-swapOffsetFirst) - 1

	// Types above those of swap files (include/linux/swap.h, kernels from 5.19 with
	// CONFIG_DEVICE_PRIVATE).
	swapHWPoison       = 23
	swapMigrationFirst = 24
	swapMigrationLast  = 26

	// migrationPFNBits is the number of bits of the page's frame number in a migration entry's
	// offset: MAX_PHYSMEM_BITS (52 with 5-level paging, 46 else, of which the upper bits are zero
	// on a machine with less memory) minus the page offset.
	migrationPFNBits = 46 - 12
)

// Resident decodes a page table entry that is not present, for [mmu.Options]. Many pages that a
// process would fault back in are still in RAM.
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
