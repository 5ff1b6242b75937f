package query

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
	"physgdb/bridge/dump"
	"physgdb/cmd/internal/machine"
	"physgdb/mmu"
	"physgdb/test/memimage"
	"physgdb/test/rig"
)

// FuzzScan cuts data into pieces of any sizes, and compares what a scan of them finds with what the
// data as a whole hold.
func FuzzScan(f *testing.F) {
	f.Add([]byte("abcabcab"), []byte("abca"), []byte{1, 2, 1})
	f.Add([]byte("aaaaaaaa"), []byte("aa"), []byte{1})
	f.Add([]byte("xyzxyz"), []byte("xyzxyz"), []byte{5})
	f.Fuzz(func(t *testing.T, data, pattern, sizes []byte) {
		if len(pattern) == 0 || len(sizes) == 0 {
			return
		}
		var want, got []uint64
		for i := range data {
			if bytes.HasPrefix(data[i:], pattern) {
				want = append(want, uint64(i))
			}
		}
		s := scan{patterns: [][]byte{pattern}, hit: func(at uint64) bool {
			got = append(got, at)
			return true
		}}
		for i, at := 0, 0; at < len(data); i++ {
			n := min(int(sizes[i%len(sizes)])+1, len(data)-at)
			if !s.piece(uint64(at), data[at:at+n]) {
				t.Fatal("the scan ends")
			}
			at += n
		}
		if !slices.Equal(got, want) {
			t.Errorf("found at %d, want %d", got, want)
		}
	})
}

func TestNothingIsFoundAcrossAGap(t *testing.T) {
	s := scan{patterns: [][]byte{[]byte("ab")}, hit: func(at uint64) bool {
		t.Errorf("found at %#x", at)
		return true
	}}
	s.piece(0x1000, []byte("a"))
	s.piece(0x2000, []byte("b"))
}

// search returns where a pattern is in the whole address space, by a search of a bridge.
func search(t *testing.T, s *rig.Scattered, bridge bridge.Memory, pattern []byte, r mmu.Range) ([]uint64, error) {
	t.Helper()
	mem := machine.NewMemory(bridge, nil)
	space, err := mmu.New(mem, nil).Space(mmu.Root{CR3: uint64(s.Top), Levels: 4})
	rig.Must(t, err)
	var found []uint64
	look := NewSearch(mem, [][]byte{pattern}, func(at uint64) bool {
		found = append(found, at)
		return true
	})
	err = look.Run(ctx, space, r)
	return found, err
}

func TestSearch(t *testing.T) {
	s := rig.NewScattered()
	begin := uint64(rig.ScatteredVA + mmu.PageSize - 4)
	again := uint64(rig.ScatteredVA + 2<<20)
	path := t.TempDir() + "/ram"
	rig.Must(t, s.WriteFile(path))
	for name, open := range map[string]func() bridge.Memory{
		"seen in place": func() bridge.Memory {
			m, err := dump.OpenFiles([]string{path}, "")
			rig.Must(t, err)
			return m
		},
		"read in batches": func() bridge.Memory { return bridgetest.NewFake(s.RAM) },
	} {
		for _, tc := range []struct {
			name    string
			pattern []byte
			r       mmu.Range
			want    []uint64
		}{
			{"all of the text, over three pages", s.Text, mmu.All, []uint64{begin, again}},
			{"one byte before the range", s.Text, mmu.Range{First: begin + 1, Last: ^uint64(0)}, []uint64{again}},
			{"the range ends with the text", s.Text, mmu.Range{First: begin, Last: begin + uint64(len(s.Text)) - 1}, []uint64{begin}},
			{"the range ends before the text does", s.Text, mmu.Range{First: begin, Last: begin + uint64(len(s.Text)) - 2}, nil},
			{"more than the text", append([]byte{1}, s.Text...), mmu.All, nil},
			{"user space, where nothing is", s.Text, mmu.Lower, nil},
		} {
			t.Run(name+", "+tc.name, func(t *testing.T) {
				m := open()
				defer m.Close()
				found, err := search(t, s, m, tc.pattern, tc.r)
				rig.Must(t, err)
				if !slices.Equal(found, tc.want) {
					t.Errorf("found at %#x, want %#x", found, tc.want)
				}
			})
		}
	}
}

func TestSearchSaysWhatItCouldNotRead(t *testing.T) {
	s := rig.NewScattered()
	fake := bridgetest.NewFake(s.RAM)
	fake.Fail(6<<20, 1<<20, bridge.ErrTimeout)
	found, err := search(t, s, fake, []byte("needle!"), mmu.All)
	if n := len(s.Text) / 8; len(found) != n || !errors.Is(err, bridge.ErrTimeout) {
		t.Errorf("%d places, want %d; %v", len(found), n, err)
	}
}

func TestSearchOfAFileThatIsCutShort(t *testing.T) {
	s := rig.NewScattered()
	path := filepath.Join(t.TempDir(), "ram")
	rig.Must(t, os.WriteFile(path, s.RAM, 0o600))
	mem, err := dump.OpenFiles([]string{path}, "")
	rig.Must(t, err)
	defer mem.Close()
	rig.Must(t, os.Truncate(path, 6<<20))
	found, err := search(t, s, mem, []byte("needle!"), mmu.All)
	if n := len(s.Text) / 8; len(found) != n || !errors.Is(err, bridge.ErrGone) {
		t.Errorf("%d places, want %d; %v", len(found), n, err)
	}
}

func TestSearchOfDamagedTablesEnds(t *testing.T) {
	s := rig.NewScattered()
	for i := range bridge.PhysAddr(200) {
		s.Put64(s.Top+i*8, uint64(s.Top)|memimage.Present) // leads to itself
		s.Put64(s.Top+(200+i)*8, 0xfffffffffffff&^0xfff<<8|memimage.Present|uint64(i))
	}
	found, err := search(t, s, bridgetest.NewFake(s.RAM), s.Text, mmu.Upper)
	rig.Must(t, err)
	if len(found) != 0 {
		t.Errorf("found at %#x", found)
	}
}

func TestExpressions(t *testing.T) {
	for word, want := range map[string]string{
		`"a\"b\x00c"`: "a\"b\x00c", "'x'": "x", `'\''`: "'", `'\n'`: "\n", "258": "\x02\x01\x00\x00", "0x100000000": "\x00\x00\x00\x00\x01\x00\x00\x00",
	} {
		if e, err := parseExpression(word, 0); err != nil || string(e.bytes) != want {
			t.Errorf("%s: %q, %v; want %q", word, e.bytes, err, want)
		}
	}
	for size, want := range map[int]string{1: "\x07", 2: "\x07\x00", 8: "\x07\x00\x00\x00\x00\x00\x00\x00"} {
		if e, err := parseExpression("7", size); err != nil || string(e.bytes) != want {
			t.Errorf("of %d bytes: %q, %v", size, e.bytes, err)
		}
	}
}

func TestLinesAreSplitOutsideQuotes(t *testing.T) {
	for line, want := range map[string][]string{
		`find a,  "b  c" d`: {"find", "a,", `"b  c"`, "d"}, `x "y z`: {"x", `"y`, "z"}, ` 'a b'c`: {"'a b'c"}, "": nil,
		`"a\" b" c`: {`"a\" b"`, "c"},
	} {
		if got := SplitLine(line); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// FuzzFind: whatever is typed, find makes sense of it or says that it does not.
func FuzzFind(f *testing.F) {
	for _, line := range []string{`/g2 0x1000, +8, "a\x00", 'b' &c 0xff`, `"'"`, `/`, `a,b,"\`} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if found, err := ParseFind(strings.Join(SplitLine(line), " ")); err == nil && (len(found.pattern) == 0 || found.Max < 1) {
			t.Errorf("%q: %+v", line, found)
		}
	})
}
