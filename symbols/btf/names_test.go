package btf

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

func TestLongNamesOfBTFAreCut(t *testing.T) {
	for _, tc := range []struct {
		name  string
		names string
		want  string
	}{
		{"usual names", "\x00int\x00long\x00", "\x00int\x00long\x00"},
		{"the longest", "\x00" + strings.Repeat("n", maxBTFName-1) + "\x00", "\x00" + strings.Repeat("n", maxBTFName-1) + "\x00"},
		{"a longer one", "\x00" + strings.Repeat("n", maxBTFName) + "\x00x\x00", "\x00" + strings.Repeat("n", maxBTFName-1) + "\x00\x00x\x00"},
		{"no end", "\x00" + strings.Repeat("n", 2*maxBTFName), "\x00" + strings.Repeat("n", maxBTFName-1) + "\x00" + strings.Repeat("n", maxBTFName)},
	} {
		raw := []byte{0x9f, 0xeb, 1, 0}
		for _, v := range []int{24, 0, 0, 0, len(tc.names)} {
			raw = binary.LittleEndian.AppendUint32(raw, uint32(v))
		}
		raw = append(raw, tc.names...)
		before := bytes.Clone(raw)
		if got := string(cutNames(raw)[24:]); got != tc.want || !bytes.Equal(raw, before) {
			t.Errorf("%s: %d bytes %.40q, want %d", tc.name, len(got), got, len(tc.want))
		}
	}
}
