package kallsyms

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"physgdb/symbols"
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
	function := symbols.Symbol{Name: strings.Repeat("n", name), Addr: uint64(size - name - 1)}
	x := &exportTables{image: image, functions: map[string][]uint64{}, valid: valid}
	for at := 0; at < size; at += 4 {
		x.entry(at)
	}
	if x.looked > maxExportBytes+2*mostName {
		t.Errorf("%d bytes of names were looked at", x.looked)
	}
	begin := time.Now()
	if got := FindExports(0, image, []symbols.Symbol{function}, valid); len(got) > maxExports || time.Since(begin) > 10*time.Second {
		t.Errorf("%d exports after %v", len(got), time.Since(begin))
	}
}
