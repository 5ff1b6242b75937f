// Package crc has the checksum of gdb's `compare-sections` (libiberty/crc32.c): the CRC-32 of
// Ethernet, but with the most significant bit of each byte first, and without the inversion at the
// end. No CRC of hash/crc32 has that order of bits.
package crc

// Initial is the checksum of no bytes.
const Initial uint32 = 0xffffffff

const polynomial = 0x04c11db7

// tables let Update take eight bytes at a time: tables[k][b] is the checksum of byte b followed by
// k zeros.
var tables = makeTables()

func makeTables() (t [8][256]uint32) {
	for b := range t[0] {
		crc := uint32(b) << 24
		for range 8 {
			carry := crc >> 31
			crc = crc<<1 ^ carry*polynomial
		}
		t[0][b] = crc
	}
	for k := 1; k < len(t); k++ {
		for b := range t[k] {
			before := t[k-1][b]
			t[k][b] = before<<8 ^ t[0][before>>24]
		}
	}
	return t
}

// Update adds the bytes of p to a checksum ("slicing by eight").
func Update(crc uint32, p []byte) uint32 {
	t := &tables
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
