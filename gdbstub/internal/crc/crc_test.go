package crc

import (
	"slices"
	"testing"
)

// TestCRC has the check value of "CRC-32/MPEG-2" in the catalogue of parametrised CRC algorithms,
// which is gdb's.
func TestCRC(t *testing.T) {
	if got := Update(Initial, []byte("123456789")); got != 0x0376e6e7 {
		t.Errorf("%#x", got)
	}
}

func TestCRCOfPiecesIsThatOfTheWhole(t *testing.T) {
	data := make([]byte, 1000)
	for i := range data {
		data[i] = byte(i * i >> 3)
	}
	whole := Initial
	for _, b := range data { // a byte at a time
		whole = Update(whole, []byte{b})
	}
	for _, size := range []int{3, 7, 8, 64, 999, 1000} {
		crc := Initial
		for piece := range slices.Chunk(data, size) {
			crc = Update(crc, piece)
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
		Update(Initial, p)
	}
}
