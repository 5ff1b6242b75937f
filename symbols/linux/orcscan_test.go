package linux

import (
	"encoding/binary"
	"testing"
)

const (
	scanBase = 0xffffffff82000000
	scanText = 0xffffffff81000000
)

func isScannedCode(addr uint64) bool { return scanText <= addr && addr < scanText+1<<20 }

// addressTable returns the numbers by which a table at an offset refers to code, one function in 16
// bytes.
func addressTable(offset, count int) []byte {
	var p []byte
	for i := range count {
		at := scanBase + uint64(offset) + 4*uint64(i)
		p = binary.LittleEndian.AppendUint32(p, uint32(scanText+16*uint64(i)-at))
	}
	return p
}

func TestLongestAddressTable(t *testing.T) {
	for _, tc := range []struct {
		name          string
		before, after []byte
		count         int
	}{
		{"alone", nil, nil, 100},
		{"between zeros", make([]byte, 4096), make([]byte, 4096), 100},
		{"after a shorter one", append(addressTable(0, 50), 1, 2, 3, 4), nil, 100},
		{"before entries", nil, []byte{8, 0, 0xf0, 0xff, 0x45, 1, 16, 0}, 100},
		{"none", make([]byte, 4096), nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			data := append(append(tc.before, addressTable(len(tc.before), tc.count)...), tc.after...)
			at, count := longestAddressTable(scanBase, data, isScannedCode)
			if count != tc.count || count > 0 && at != len(tc.before) {
				t.Errorf("%d numbers at %d, want %d at %d", count, at, tc.count, len(tc.before))
			}
		})
	}
}

func FuzzLongestAddressTable(f *testing.F) {
	f.Add(addressTable(0, 100))
	f.Add(append(make([]byte, 8), addressTable(8, 10)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		at, count := longestAddressTable(scanBase, data, isScannedCode)
		if at < 0 || count < 0 || at+4*count > len(data) {
			t.Errorf("%d numbers at %d of %d bytes", count, at, len(data))
		}
	})
}

func TestBannerIn(t *testing.T) {
	const banner = "Linux version 6.12.0 (gcc) #1 SMP\n"
	for _, tc := range []struct {
		name, data string
		at, size   int
	}{
		{"after the template", "Linux version %s (%s)\n\x00" + banner, 23, len(banner) - 1},
		{"cut off", "xx" + banner[:20], -1, 0},
		{"none", "Linux", -1, 0},
	} {
		if at, size := bannerIn([]byte(tc.data)); at != tc.at || size != tc.size {
			t.Errorf("%s: %d bytes at %d, want %d at %d", tc.name, size, at, tc.size, tc.at)
		}
	}
}
