package dwarf

import (
	"bytes"
	"encoding/binary"
)

// nameSearch finds the units that have a name somewhere, without decoding them: by the name itself,
// as short ones are, or by its offset in .debug_str.
type nameSearch struct {
	info       []byte
	everywhere bool     // the units are unknown: search all
	needles    [][]byte // encodings of the name in .debug_info
}

func newNameSearch(s sections, name string) *nameSearch {
	const most = 16 // places to search for; more take longer than to decode the units
	inline := append([]byte(name), 0)
	offsets := stringOffsets(s["str"], inline, most+1)
	search := &nameSearch{info: s["info"], needles: [][]byte{inline}}
	for _, at := range offsets {
		search.needles = append(search.needles, binary.LittleEndian.AppendUint32(nil, uint32(at)))
	}
	// In files with .debug_str_offsets, the name may be a number.
	search.everywhere = len(offsets) > most || len(offsets) > 0 && len(s["str_offsets"]) > 0
	return search
}

// stringOffsets finds where a string is, up to so many places. Linkers keep each string once, maybe
// as the tail of another: if it is there as a whole string, that is the place.
func stringOffsets(str, terminated []byte, most int) (offsets []int) {
	if bytes.HasPrefix(str, terminated) {
		return []int{0}
	}
	if i := bytes.Index(str, append([]byte{0}, terminated...)); i >= 0 {
		return []int{i + 1}
	}
	for at := 0; len(offsets) < most; at++ {
		i := bytes.Index(str[at:], terminated)
		if i < 0 {
			break
		}
		at += i
		offsets = append(offsets, at)
	}
	return offsets
}

// in returns the offsets of .debug_info in a unit that may encode the name.
func (s *nameSearch) in(u unitHeader) (hits []uint64) {
	for _, needle := range s.needles {
		for at := u.first; ; at++ {
			i := bytes.Index(s.info[at:u.end], needle)
			if i < 0 {
				break
			}
			at += uint64(i)
			hits = append(hits, at)
		}
	}
	return hits
}
