package linux

import (
	"strings"
	"testing"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
	"physgdb/mmu"
	"physgdb/test/memimage"
)

// part is a stretch of a kernel's image: pages of equal rights.
type part struct {
	pages int    // of 2 MiB, or of 4 KiB if it is small
	small bool   // 4 KiB pages
	bits  uint64 // rights; gap is none at all
}

const (
	textBits, roBits, dataBits = 0, memimage.NX, memimage.NX | memimage.Writable
	gap                        = ^uint64(0)
)

// mapParts makes page tables of 4 levels that map an image of these parts, 4 MiB of physical memory
// and up.
func mapParts(parts []part) (im *memimage.Image, top bridge.PhysAddr) {
	im = memimage.New(64 << 20)
	top = im.Page()
	off := uint64(0)
	for _, p := range parts {
		level, size := 2, uint64(ImageAlign)
		if p.small {
			level, size = 1, mmu.PageSize
		}
		off = (off + size - 1) &^ (size - 1)
		for range p.pages {
			if p.bits != gap {
				im.Map(top, 4, level, defaultText+off, bridge.PhysAddr(4<<20+off), p.bits)
			}
			off += size
		}
	}
	return im, top
}

// TestLocateChecksAccessRights: a kernel is text followed by data, not how much text there
// is.
func TestLocateChecksAccessRights(t *testing.T) {
	for _, tc := range []struct {
		name  string
		parts []part
		want  string // part of the error; "" if it is a kernel
	}{
		{"2 MiB of text", []part{{pages: 1}, {pages: 1, bits: roBits}, {pages: 1, bits: dataBits}}, ""},
		{"a large kernel", []part{{pages: 20}, {pages: 10, bits: roBits}, {pages: 1, bits: dataBits}}, ""},
		{"a gap before the data", []part{{pages: 2}, {pages: 1, bits: roBits}, {pages: 2, bits: gap}, {pages: 1, bits: dataBits}}, ""},
		{"nothing protected", []part{{pages: 6, bits: memimage.Writable}}, ""},
		{"the user half with the entry text alone", []part{{pages: 1}}, "no data after it"},
		{"the user half with all text and read-only data", []part{{pages: 12}, {pages: 6, bits: roBits}}, "no data after it"},
		{"no text", []part{{pages: 8, bits: dataBits}}, "not part of a kernel"},
		{"user pages", []part{{pages: 2}, {pages: 2, bits: memimage.User}, {pages: 1, bits: dataBits}}, "not part of a kernel"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			im, top := mapParts(tc.parts)
			fake := bridgetest.NewFake(im.RAM)
			l, err := Locate(ctx, mmu.New(fake, nil), uint64(top), 4)
			switch {
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("found %+v, %v; want %q", l, err, tc.want)
			case tc.want == "" && (err != nil || l.Text != defaultText || l.TextPhys != 4<<20):
				t.Errorf("found %+v, %v", l, err)
			}
			if n := fake.Counts().Reads; n > 5 {
				t.Errorf("%d reads, want 5 at most", n)
			}
		})
	}
}

// TestReadOnlyData has stray pages that are read-only around the read-only data: it is found
// without what lies between.
func TestReadOnlyData(t *testing.T) {
	stray := part{pages: 1, small: true, bits: roBits}
	im, top := mapParts([]part{
		{pages: 3}, {pages: 2, small: true}, stray, {pages: 2, bits: roBits}, {pages: 2, bits: dataBits}, stray,
	})
	k, err := Attach(ctx, mmu.New(bridgetest.NewFake(im.RAM), nil), &Options{CR3: uint64(top), Levels: 4})
	if err != nil {
		t.Fatal(err)
	}
	got, err := k.readOnlyData(ctx)
	want := mmu.Range{First: defaultText + 4*ImageAlign, Last: defaultText + 6*ImageAlign - 1}
	if err != nil || got != want {
		t.Errorf("got %#x, %v; want %#x", got, err, want)
	}
}
