package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
	"physgdb/bridge/dump"
	"physgdb/mmu"
	"physgdb/test/memimage"
)

// FuzzScan cuts data into pieces of any sizes, and compares what a scan of them finds with what the data as a whole hold.
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

// scattered is a memory whose pages, one after the other in virtual memory, lie apart from each other: text, which
// begins 4 bytes before the end of its first page, goes over all borders. Behind it come a hole, a page that is no RAM, and
// one that holds the text again, on a 2 MiB page.
type scattered struct {
	*memimage.Image
	top  bridge.PhysAddr
	text []byte
}

const scatteredVA = 0xffff888000000000

func newScattered() *scattered {
	s := &scattered{Image: memimage.New(8 << 20)}
	s.top = s.Page()
	const pages = 5
	s.text = bytes.Repeat([]byte("needle! "), 2*mmu.PageSize/8)
	virtual := make([]byte, pages*mmu.PageSize)
	copy(virtual[mmu.PageSize-4:], s.text)
	for i := range uint64(pages) {
		pa := s.Page()
		s.Page() // is between
		copy(s.RAM[pa:], virtual[i*mmu.PageSize:][:mmu.PageSize])
		s.Map(s.top, 4, 1, scatteredVA+i*mmu.PageSize, pa, 0)
	}
	s.Map(s.top, 4, 1, scatteredVA+16*mmu.PageSize, 1<<30, 0)
	copy(s.RAM[6<<20:], s.text)
	s.Map(s.top, 4, 2, scatteredVA+2<<20, 6<<20, 0)
	return s
}

// search returns where a pattern is in the whole address space, by a search of a bridge.
func (s *scattered) search(t *testing.T, bridge bridge.Memory, pattern []byte, r mmu.Range) ([]uint64, error) {
	t.Helper()
	mem := wrap(bridge, nil)
	space, err := mmu.New(mem, nil).Space(mmu.Root{CR3: uint64(s.top), Levels: 4})
	must(t, err)
	var found []uint64
	look := newSearch(mem, [][]byte{pattern}, func(at uint64) bool {
		found = append(found, at)
		return true
	})
	err = look.run(ctx, space, r)
	return found, err
}

func TestSearch(t *testing.T) {
	s := newScattered()
	begin := uint64(scatteredVA + mmu.PageSize - 4)
	again := uint64(scatteredVA + 2<<20)
	path := t.TempDir() + "/ram"
	must(t, s.WriteFile(path))
	for name, open := range map[string]func() bridge.Memory{
		"seen in place": func() bridge.Memory {
			m, err := dump.OpenFiles([]string{path}, "")
			must(t, err)
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
			{"all of the text, over three pages", s.text, mmu.All, []uint64{begin, again}},
			{"one byte before the range", s.text, mmu.Range{First: begin + 1, Last: ^uint64(0)}, []uint64{again}},
			{"the range ends with the text", s.text, mmu.Range{First: begin, Last: begin + uint64(len(s.text)) - 1}, []uint64{begin}},
			{"the range ends before the text does", s.text, mmu.Range{First: begin, Last: begin + uint64(len(s.text)) - 2}, nil},
			{"more than the text", append([]byte{1}, s.text...), mmu.All, nil},
			{"user space, where nothing is", s.text, mmu.Lower, nil},
		} {
			t.Run(name+", "+tc.name, func(t *testing.T) {
				m := open()
				defer m.Close()
				found, err := s.search(t, m, tc.pattern, tc.r)
				must(t, err)
				if !slices.Equal(found, tc.want) {
					t.Errorf("found at %#x, want %#x", found, tc.want)
				}
			})
		}
	}
}

func TestSearchSaysWhatItCouldNotRead(t *testing.T) {
	s := newScattered()
	fake := bridgetest.NewFake(s.RAM)
	fake.Fail(6<<20, 1<<20, bridge.ErrTimeout)
	found, err := s.search(t, fake, []byte("needle!"), mmu.All)
	if n := len(s.text) / 8; len(found) != n || !errors.Is(err, bridge.ErrTimeout) {
		t.Errorf("%d places, want %d; %v", len(found), n, err)
	}
}

func TestSearchOfAFileThatIsCutShort(t *testing.T) {
	s := newScattered()
	path := filepath.Join(t.TempDir(), "ram")
	must(t, os.WriteFile(path, s.RAM, 0o600))
	mem, err := dump.OpenFiles([]string{path}, "")
	must(t, err)
	defer mem.Close()
	must(t, os.Truncate(path, 6<<20))
	found, err := s.search(t, mem, []byte("needle!"), mmu.All)
	if n := len(s.text) / 8; len(found) != n || !errors.Is(err, bridge.ErrGone) {
		t.Errorf("%d places, want %d; %v", len(found), n, err)
	}
}

func TestSearchOfDamagedTablesEnds(t *testing.T) {
	s := newScattered()
	for i := range bridge.PhysAddr(200) {
		s.Put64(s.top+i*8, uint64(s.top)|memimage.Present) // leads to itself
		s.Put64(s.top+(200+i)*8, 0xfffffffffffff&^0xfff<<8|memimage.Present|uint64(i))
	}
	found, err := s.search(t, bridgetest.NewFake(s.RAM), s.text, mmu.Upper)
	must(t, err)
	if len(found) != 0 {
		t.Errorf("found at %#x", found)
	}
}

func TestSearchThatIsNotFinishedNamesMonitorFind(t *testing.T) {
	s := connect(t, newRig(t, 4).attach(t, Options{}))
	late, cancel := context.WithCancel(ctx)
	cancel()
	_, _, err := s.SearchMemory(late, s.first, memimage.UserVA, 1<<20, []byte("no"))
	wantError(t, err, "monitor find")
	at, found, err := s.SearchMemory(ctx, s.first, 0, ^uint64(0), []byte("panic"))
	if err != nil || !found || at != memimage.UserVA {
		t.Errorf("%#x, %v, %v", at, found, err)
	}
	s.distrust = errors.New("no")
	if _, _, err := s.SearchMemory(ctx, s.first, 0, 1, []byte("x")); err == nil {
		t.Error("memory is searched that is not to be shown")
	}
}

func TestFind(t *testing.T) {
	r := newRig(t, 4)
	m := r.attachWithVmlinux(t)
	banner, _ := m.Kernel.Addr("linux_banner")
	for line, want := range map[string]string{
		`_text, +0x2000000, "Linux version 6."`:                  fmt.Sprintf("%#x linux_banner", banner),
		`_text,+0x2000000,"Linux" ' ' "version"`:                 fmt.Sprintf("%#x linux_banner", banner),
		fmt.Sprintf("/w %#x, +7, 0x756e694c 0x65762078", banner): "found: 0,",
		fmt.Sprintf("/w %#x, +8, 0x756e694c 0x65762078", banner): "found: 1,",
		fmt.Sprintf("/h1 %#x, +8, 0x694c", banner):               "found: 1, in",
		fmt.Sprintf("%#x %#x 'L'", banner, banner):               "found: 1,",
		`_text, +0x2000000, "no such  text"`:                     "found: 0,",
		`/1 _text, +0x2000000, "Linux"`:                          "there may be more: /10 shows as many",
		`--json _text, +0x2000000, "Linux version 6."`:           fmt.Sprintf(`{"addr":"%#x","symbol":"linux_banner`, banner),
	} {
		answer, err := commandNamed(t, "find").parse(splitLine(line))
		must(t, err)
		var out strings.Builder
		must(t, answer(ctx, m, &out))
		if !strings.Contains(out.String(), want) {
			t.Errorf("find %s says\n%s, want %q", line, out.String(), want)
		}
	}
}

func TestMonitorFindLooksAtTheThreadsSpace(t *testing.T) {
	r := newRig(t, 4)
	s := connect(t, r.attach(t, Options{Notify: r.notices(t, greeted, died)}))
	line := fmt.Sprintf(`find %#x, +0x1000, "tick"`, memimage.UserVA)
	if said := s.monitor(t, line); !strings.Contains(said, "found: 0,") {
		t.Errorf("says %q", said)
	}
	s.monitor(t, "cr3 clock")
	if said := s.monitor(t, line); !strings.Contains(said, "found: 1,") {
		t.Errorf("in the space of clock: %q", said)
	}
}

func TestFindMakesSenseOfItsWords(t *testing.T) {
	for line, want := range map[string]string{
		"": "want START", "0x1000 +16": "want START", "/x 0 +1 1": "/x: want a size", "/ 0 +1 1": "/: want a size",
		"/bh 0 +1 1": "/bh: want", "/0 0 +1 1": "/0: want", "0 +1 \"": "quote is missing", "0 +1 \"\"": "want \"text\"",
		"0 +1 'ab'": "want one character", "0 +1 x": "want a number", "0 +1 &": "a symbol is missing",
		"/b 0 +1 256": "does not fit 1 bytes", "/1b2 0 +1 1": "/1b2: want",
	} {
		_, err := commandNamed(t, "find").parse(splitLine(line))
		wantError(t, err, want)
	}
	m := newRig(t, 4).attachWithVmlinux(t)
	for line, want := range map[string]string{
		"0x2000 0x1000 1": "lies before", "0x1000 +0 1": "want a length", "nowhere +1 1": "nor a symbol",
		"0 nowhere 1": "nor a symbol", "0 +1 &nowhere": "nor a symbol",
	} {
		answer, err := commandNamed(t, "find").parse(splitLine(line))
		must(t, err)
		wantError(t, answer(ctx, m, &strings.Builder{}), want)
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
		if got := splitLine(line); !slices.Equal(got, want) {
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
		if found, err := parseFind(strings.Join(splitLine(line), " ")); err == nil && (len(found.pattern) == 0 || found.most < 1) {
			t.Errorf("%q: %+v", line, found)
		}
	})
}

func TestLoadAddressesAreThoseOfTheLinkedKernel(t *testing.T) {
	r := newRig(t, 4)
	s := connect(t, r.attachWithVmlinux(t))
	banner, _ := s.m.Kernel.Symbols.Lookup("linux_banner")
	p := make([]byte, 5)
	n, err := s.ReadLoaded(ctx, s.first, banner.Addr-0xffffffff80000000, p)
	if n != 5 || err != nil || string(p) != "Linux" {
		t.Errorf("%d, %v: %q", n, err, p)
	}
	m := r.attach(t, Options{Notify: r.notices(t, greeted, died), CR3: "hello:clock"})
	s = connect(t, m)
	if n, err := s.ReadLoaded(ctx, s.first, memimage.UserVA, p[:4]); n != 4 || err != nil || string(p[:4]) != "tick" {
		t.Errorf("of a program: %d, %v: %q", n, err, p)
	}
}
