package symbols

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"
)

// TestExpandedNamesAreBounded has tokens that make each byte of a name 511.
func TestExpandedNamesAreBounded(t *testing.T) {
	tokens := &tokenTable{}
	for i := range tokens.text {
		tokens.text[i] = bytes.Repeat([]byte{'T'}, mostToken-1)
	}
	names := &nameTable{tokens: tokens}
	if got := names.expand(nil, bytes.Repeat([]byte{1}, mostName)); len(got) <= mostName || len(got) > mostName+mostToken {
		t.Errorf("%d bytes", len(got))
	}
}

// TestTokensAreLookedForInManyPlaces has the digits of a token table, and no table, over and over.
func TestTokensAreLookedForInManyPlaces(t *testing.T) {
	image := bytes.Repeat([]byte("0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00"), 1<<20)
	begin := time.Now()
	if _, err := findTokens(image); err == nil || time.Since(begin) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

// TestExportsAreBounded has a table of exports in which every word leads to one long name.
func TestExportsAreBounded(t *testing.T) {
	const size, name = 8 << 20, 1000
	image := make([]byte, size)
	copy(image[size-name-1:], strings.Repeat("n", name))
	for at := 0; at+8 < size-name; at += 4 {
		binary.LittleEndian.PutUint32(image[at:], uint32(size-name-1-at))
	}
	valid := func(uint64) bool { return true }
	function := Symbol{Name: strings.Repeat("n", name), Addr: uint64(size - name - 1)}
	x := &exportTables{image: image, functions: map[string][]uint64{}, valid: valid}
	for at := 0; at < size; at += 4 {
		x.entry(at)
	}
	if x.looked > maxExportBytes+2*mostName {
		t.Errorf("%d bytes of names were looked at", x.looked)
	}
	begin := time.Now()
	if got := FindExports(0, image, []Symbol{function}, valid); len(got) > maxExports || time.Since(begin) > 10*time.Second {
		t.Errorf("%d exports after %v", len(got), time.Since(begin))
	}
}

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

func TestBuildIDsOfUnusualLengthAreNone(t *testing.T) {
	for size, want := range map[int]bool{0: false, 1: false, 2: true, 20: true, 64: true, 65: false, 200: false} {
		var notes []byte
		for _, v := range []int{4, size, 3} {
			notes = binary.LittleEndian.AppendUint32(notes, uint32(v))
		}
		notes = append(append(notes, "GNU\x00"...), make([]byte, 200)...)
		if got := BuildID(notes); (got != nil) != want || want && len(got) != size {
			t.Errorf("%d bytes: %x", size, got)
		}
	}
}
