package query

import "bytes"

// scan looks for patterns of equal length in bytes that come piece by piece. Where one piece
// follows another, it also finds what lies across the border.
type scan struct {
	patterns [][]byte             // all different
	hit      func(at uint64) bool // called for each place, in order; false ends the scan

	next  uint64 // address after the last piece
	carry []byte // what the last pieces ended with: one byte less than the pattern, or all there was
	seam  []byte // reused
	found []int  // where each pattern is next in a piece; reused
}

// piece looks through the bytes at an address. It returns false if the scan is over.
func (s *scan) piece(at uint64, p []byte) bool {
	if at != s.next {
		s.forget()
	}
	s.next = at + uint64(len(p))
	if len(s.carry) > 0 {
		s.seam = append(append(s.seam[:0], s.carry...), p[:min(len(p), len(s.patterns[0])-1)]...)
		if !s.look(at-uint64(len(s.carry)), s.seam) {
			return false
		}
	}
	if !s.look(at, p) {
		return false
	}
	s.keep(p)
	return true
}

// forget makes the next piece follow none.
func (s *scan) forget() { s.carry = s.carry[:0] }

// look finds every place of a pattern in p, those that overlap one another as well.
func (s *scan) look(at uint64, p []byte) bool {
	s.found = s.found[:0]
	for _, pattern := range s.patterns {
		s.found = append(s.found, indexFrom(p, 0, pattern))
	}
	for {
		first := 0
		for i, place := range s.found {
			if place < s.found[first] {
				first = i
			}
		}
		place := s.found[first]
		switch {
		case place == len(p):
			return true
		case !s.hit(at + uint64(place)):
			return false
		}
		s.found[first] = indexFrom(p, place+1, s.patterns[first])
	}
}

// indexFrom returns where a pattern is next in p, from an offset on; len(p) if nowhere.
func indexFrom(p []byte, from int, pattern []byte) int {
	i := bytes.Index(p[from:], pattern)
	if i < 0 {
		return len(p)
	}
	return from + i
}

// keep remembers the end of p, or, where p is short, that of all since the last gap.
func (s *scan) keep(p []byte) {
	most := len(s.patterns[0]) - 1
	if len(p) >= most {
		s.carry = append(s.carry[:0], p[len(p)-most:]...)
		return
	}
	s.carry = append(s.carry, p...)
	if extra := len(s.carry) - most; extra > 0 {
		s.carry = append(s.carry[:0], s.carry[extra:]...)
	}
}
