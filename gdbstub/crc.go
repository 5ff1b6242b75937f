package gdbstub

import (
	"bytes"
	"context"
	"fmt"

	"physgdb/gdbstub/rsp"
)

// checksumMemory answers qCRC:<address>,<length> (gdb manual, appendix E.4), gdb's
// `compare-sections`: C and the checksum of the memory at load addresses. A failure has but a code,
// whose reason goes to the log.
func (s *session) checksumMemory(ctx context.Context, args []byte) reply {
	loader := s.selected.can.loader
	if loader == nil {
		return unsupported() // gdb then reads the memory and compares by itself, at the same addresses
	}
	first, second, _ := bytes.Cut(bytes.TrimPrefix(args, []byte(":")), []byte(","))
	addr, okAddr := rsp.ParseHex(first)
	length, okLength := rsp.ParseHex(second)
	if !okAddr || !okLength || length > 0 && addr+(length-1) < addr {
		return text(codeRefused)
	}
	id, err := s.selectedThread(ctx)
	if err != nil {
		return text(codeRefused)
	}
	crc, err := ask(ctx, s.selected.worker, func(ctx context.Context, _ Target) (uint32, error) {
		return checksumLoaded(ctx, loader, id, addr, length)
	})
	if err != nil {
		s.log.Warn("no checksum of memory", "load address", hexAddress(addr), "length", length, "error", err)
		return text(codeRefused)
	}
	return text(fmt.Sprintf("C%08x", crc))
}

// checksumLoaded reads length bytes a piece at a time, however many they are, and sums them up.
func checksumLoaded(ctx context.Context, loader LoadReader, id ThreadID, addr, length uint64) (uint32, error) {
	const piece = 1 << 20 // bytes
	p := make([]byte, min(length, piece))
	crc := ^uint32(0)
	for length > 0 {
		p = p[:min(length, piece)]
		if n, err := loader.ReadLoaded(ctx, id, addr, p); n < len(p) {
			return 0, fmt.Errorf("after %d bytes: %w", n, err)
		}
		crc = updateCRC(crc, p)
		addr, length = addr+uint64(len(p)), length-uint64(len(p))
	}
	return crc, nil
}

// crcPolynomial is that of gdb's checksum (libiberty/crc32.c): the CRC-32 of Ethernet, but with the
// most significant bit of each byte first, and without the inversion at the end. No CRC of
// hash/crc32 has that order of bits.
const crcPolynomial = 0x04c11db7

// crcTables let updateCRC take eight bytes at a time: crcTables[k][b] is the checksum of byte b
// followed by k zeros.
var crcTables = makeCRCTables()

func makeCRCTables() (tables [8][256]uint32) {
	for b := range tables[0] {
		crc := uint32(b) << 24
		for range 8 {
			carry := crc >> 31
			crc = crc<<1 ^ carry*crcPolynomial
		}
		tables[0][b] = crc
	}
	for k := 1; k < len(tables); k++ {
		for b := range tables[k] {
			before := tables[k-1][b]
			tables[k][b] = before<<8 ^ tables[0][before>>24]
		}
	}
	return tables
}

// updateCRC adds the bytes of p to a checksum ("slicing by eight").
func updateCRC(crc uint32, p []byte) uint32 {
	t := &crcTables
	for len(p) >= 8 {
		crc ^= uint32(p[0])<<24 | uint32(p[1])<<16 | uint32(p[2])<<8 | uint32(p[3])
		crc = t[7][crc>>24] ^ t[6][crc>>16&0xff] ^ t[5][crc>>8&0xff] ^ t[4][crc&0xff] ^
			t[3][p[4]] ^ t[2][p[5]] ^ t[1][p[6]] ^ t[0][p[7]]
		p = p[8:]
	}
	for _, b := range p {
		crc = crc<<8 ^ t[0][byte(crc>>24)^b]
	}
	return crc
}
