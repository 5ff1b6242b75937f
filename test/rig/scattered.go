package rig

import (
	"bytes"

	"physgdb/bridge"
	"physgdb/mmu"
	"physgdb/test/memimage"
)

// Scattered is a memory whose pages are contiguous in virtual memory, but not in physical memory.
// Text begins 4 bytes before the end of its first page and crosses all borders. A hole follows, a
// page that is no RAM, and the text again, on a 2 MiB page.
type Scattered struct {
	*memimage.Image
	Top  bridge.PhysAddr // of the page tables
	Text []byte
}

// ScatteredVA is where the first page is.
const ScatteredVA = 0xffff888000000000

// NewScattered makes such a memory.
func NewScattered() *Scattered {
	s := &Scattered{Image: memimage.New(8 << 20)}
	s.Top = s.Page()
	const pages = 5
	s.Text = bytes.Repeat([]byte("needle! "), 2*mmu.PageSize/8)
	virtual := make([]byte, pages*mmu.PageSize)
	copy(virtual[mmu.PageSize-4:], s.Text)
	for i := range uint64(pages) {
		pa := s.Page()
		s.Page() // is between
		copy(s.RAM[pa:], virtual[i*mmu.PageSize:][:mmu.PageSize])
		s.Map(s.Top, 4, 1, ScatteredVA+i*mmu.PageSize, pa, 0)
	}
	s.Map(s.Top, 4, 1, ScatteredVA+16*mmu.PageSize, 1<<30, 0)
	copy(s.RAM[6<<20:], s.Text)
	s.Map(s.Top, 4, 2, ScatteredVA+2<<20, 6<<20, 0)
	return s
}
