package gdbstub

import (
	"slices"
	"testing"
)

// TestCRC has the check value of "CRC-32/MPEG-2" in the catalogue of parametrised CRC algorithms,
// which is gdb's.
func TestCRC(t *testing.T) {
	if got := updateCRC(^uint32(0), []byte("123456789")); got != 0x0376e6e7 {
		t.Errorf("%#x", got)
	}
}

func TestCRCOfPiecesIsThatOfTheWhole(t *testing.T) {
	data := make([]byte, 1000)
	for i := range data {
		data[i] = byte(i * i >> 3)
	}
	whole := ^uint32(0)
	for _, b := range data { // a byte at a time
		whole = updateCRC(whole, []byte{b})
	}
	for _, size := range []int{3, 7, 8, 64, 999, 1000} {
		crc := ^uint32(0)
		for piece := range slices.Chunk(data, size) {
			crc = updateCRC(crc, piece)
		}
		if crc != whole {
			t.Errorf("in pieces of %d: %#x, want %#x", size, crc, whole)
		}
	}
}

func BenchmarkCRC(b *testing.B) {
	p := make([]byte, 1<<20)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		updateCRC(0, p)
	}
}
