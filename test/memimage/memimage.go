// Package memimage builds small physical memories with page tables in them, for tests.
package memimage

import (
	"encoding/binary"
	"fmt"

	"physgdb/bridge"
)

// Bits of page table entries (Intel SDM vol. 3A, 4.5).
const (
	Present  = 1 << 0
	Writable = 1 << 1
	User     = 1 << 2
	PWT      = 1 << 3
	PCD      = 1 << 4
	Large    = 1 << 7 // PS
	NX       = 1 << 63
)

const pageSize = bridge.PageSize

// Image is a physical memory under construction: RAM from address 0 on.
type Image struct {
	RAM  []byte
	next bridge.PhysAddr
}

// New returns an image with size bytes of RAM. Pages are allocated from 1 MiB on, or from the
// second page in smaller ones.
func New(size int) *Image {
	im := &Image{RAM: make([]byte, size), next: 1 << 20}
	if size <= 1<<20 {
		im.next = pageSize
	}
	return im
}

// Page allocates an empty page.
func (im *Image) Page() bridge.PhysAddr {
	pa := im.next
	im.next += pageSize
	if int(im.next) > len(im.RAM) {
		panic(fmt.Sprintf("memimage: %d bytes are not enough", len(im.RAM)))
	}
	return pa
}

// Put64 writes a little-endian number.
func (im *Image) Put64(pa bridge.PhysAddr, v uint64) { binary.LittleEndian.PutUint64(im.RAM[pa:], v) }

// Get64 reads a little-endian number.
func (im *Image) Get64(pa bridge.PhysAddr) uint64 { return binary.LittleEndian.Uint64(im.RAM[pa:]) }

// Entry returns the physical address of the entry for va in the table of the given level, 1 for a
// PT. Missing tables above it are created with all rights.
func (im *Image) Entry(top bridge.PhysAddr, levels, level int, va uint64) bridge.PhysAddr {
	table := top
	for l := levels; ; l-- {
		at := table + bridge.PhysAddr(va>>(3+9*l)&511*8)
		if l == level {
			return at
		}
		e := im.Get64(at)
		if e&Present == 0 {
			e = uint64(im.Page()) | Present | Writable | User
			im.Put64(at, e)
		}
		table = bridge.PhysAddr(e & 0x000f_ffff_ffff_f000)
	}
}

// Map maps one page of 4 KiB, 2 MiB or 1 GiB, the size that belongs to level 1, 2 or 3, from va to
// pa.
func (im *Image) Map(top bridge.PhysAddr, levels, level int, va uint64, pa bridge.PhysAddr, bits uint64) {
	if level > 1 {
		bits |= Large
	}
	im.Put64(im.Entry(top, levels, level, va), uint64(pa)|bits|Present)
}
