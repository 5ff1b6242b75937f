package linux

import (
	"context"
	"encoding/binary"
	"errors"

	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/symbols/orc"
)

// scanORC finds the kernel's ORC tables by their contents, if there are no symbols for them. They
// are between the kernel's text and its init sections, without gaps: a header from 6.4 on, the
// addresses of the code, and the entries (ORC_UNWIND_TABLE, include/asm-generic/vmlinux.lds.h).
func (k *Kernel) scanORC(ctx context.Context) (*orc.Sections, error) {
	const (
		headerSize = 20 // bytes; a SHA-1 (ORC_HEADER, arch/x86/include/asm/orc_header.h)
		entrySize  = 6  // bytes; struct orc_entry (arch/x86/include/asm/orc_types.h)
	)
	etext, ok1 := k.Addr("_etext")
	init, ok2 := k.Addr("_sinittext")
	if !ok1 || !ok2 || init <= etext || init-etext > maxReadOnlyData {
		return nil, k.NoSymbol("__start_orc_unwind_ip", "__stop_orc_unwind_ip")
	}
	img, err := k.readImage(ctx, mmu.Range{First: etext &^ 3, Last: init - 1}, func(uint64, uint64) {})
	if err != nil {
		return nil, err
	}
	// Code is in the text or in the init sections, which are the last of the image.
	isCode := func(addr uint64) bool {
		return k.Text <= addr && addr < etext || init <= addr && addr < init+maxReadOnlyData
	}
	at, count := longestAddressTable(img.base, img.Data, isCode)
	ips, end := 4*count, at+4*count+entrySize*count
	if count < minORC || end > len(img.Data) {
		return nil, errors.New("no ORC tables were found in the kernel's data (a kernel without CONFIG_UNWINDER_ORC?)")
	}
	blob := func(from, to int) symbols.Blob {
		return symbols.Blob{Addr: img.base + uint64(from) - k.Slide, Data: img.Data[from:to]}
	}
	t := &orc.Sections{IPs: blob(at, at+ips), Entries: blob(at+ips, end)}
	if at >= headerSize {
		t.Header = blob(at-headerSize, at)
	}
	return t, t.FindFormat()
}

// minORC is the smallest number of entries of an ORC table; small kernels have 50,000.
const minORC = 1024

// longestAddressTable finds the longest sequence of 32-bit numbers which, added to their own
// addresses, are ascending addresses of code. It returns the offset in data and the number of them.
func longestAddressTable(base uint64, data []byte, isCode func(addr uint64) bool) (at, count int) {
	var last uint64
	start := 0 // of the current sequence
	for i := 0; i+4 <= len(data); i += 4 {
		addr := base + uint64(i) + uint64(int64(int32(binary.LittleEndian.Uint32(data[i:]))))
		switch {
		case !isCode(addr):
			start, last = i+4, 0
			continue
		case addr < last:
			start = i
		}
		last = addr
		if n := (i + 4 - start) / 4; n > count {
			at, count = start, n
		}
	}
	return at, count
}
