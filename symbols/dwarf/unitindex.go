package dwarf

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sort"
	"sync"
)

// unitIndex finds the unit that an address of code belongs to.
type unitIndex struct {
	listed []unitRange        // by .debug_aranges
	others func() []unitRange // of units that it does not list; nil for files of most compilers
}

// unitRange says that the code from low to high, exclusive, belongs to the unit at an offset of
// .debug_info.
type unitRange struct {
	low, high uint64
	unit      uint64
}

func newUnitIndex(s sections) unitIndex {
	listed, seen := readAranges(s["aranges"])
	return unitIndex{
		listed: listed,
		others: sync.OnceValue(func() []unitRange { return s.unlistedRanges(seen) }),
	}
}

// find returns the offset of a unit in .debug_info.
func (x *unitIndex) find(pc uint64) (unit uint64, ok bool) {
	if unit, ok = findUnit(x.listed, pc); ok {
		return unit, true
	}
	return findUnit(x.others(), pc)
}

func findUnit(ranges []unitRange, pc uint64) (unit uint64, ok bool) {
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].low > pc })
	if i == 0 || pc >= ranges[i-1].high {
		return 0, false
	}
	return ranges[i-1].unit, true
}

func sortRanges(ranges []unitRange) {
	slices.SortFunc(ranges, func(a, b unitRange) int {
		return cmp.Or(cmp.Compare(a.low, b.low), cmp.Compare(a.high, b.high), cmp.Compare(a.unit, b.unit))
	})
}

// readAranges reads .debug_aranges (DWARF 5, section 6.1.2), and which units it lists. What is
// damaged is as if it were not there.
func readAranges(section []byte) (ranges []unitRange, listed map[uint64]bool) {
	listed = map[uint64]bool{}
	for len(section) > 0 {
		length, body, dwarf64, ok := unitLength(section)
		if !ok {
			break
		}
		header := length - uint64(len(body))
		section = section[length:]

		offset := uint64(4)
		if dwarf64 {
			offset = 8
		}
		if uint64(len(body)) < 4+offset {
			continue
		}
		unit := uint64(binary.LittleEndian.Uint32(body[2:]))
		if dwarf64 {
			unit = binary.LittleEndian.Uint64(body[2:])
		}
		if address, segment := body[2+offset], body[3+offset]; address != 8 || segment != 0 {
			continue
		}
		listed[unit] = true
		// The pairs of address and length start at a multiple of their size from the header.
		const pair = 16
		pairs := (header+4+offset+pair-1)/pair*pair - header
		for ; pairs+pair <= uint64(len(body)); pairs += pair {
			low := binary.LittleEndian.Uint64(body[pairs:])
			size := binary.LittleEndian.Uint64(body[pairs+8:])
			if size != 0 && low+size > low {
				ranges = append(ranges, unitRange{low, low + size, unit})
			}
		}
	}
	sortRanges(ranges)
	return ranges, listed
}

// unlistedRanges asks the units that are not listed themselves. What is damaged is as if it were
// not there.
func (s sections) unlistedRanges(listed map[uint64]bool) (ranges []unitRange) {
	for h, err := range s.unitHeaders() {
		if err != nil {
			break
		}
		if listed[h.off] {
			continue
		}
		d, root, err := s.root(h)
		if err != nil {
			continue
		}
		code, err := d.Ranges(root)
		if err != nil {
			continue
		}
		for _, r := range code {
			if r[0] < r[1] {
				ranges = append(ranges, unitRange{r[0], r[1], h.off})
			}
		}
	}
	sortRanges(ranges)
	return ranges
}
