package nettlp

import "math/bits"

// dwSet says which DWs of a request, at most a page of them, have been received: one bit each.
type dwSet [maxDW / 64]uint64

// add takes in n DWs from first on, unless one of them is there already.
func (s *dwSet) add(first, n int) bool {
	for dw := first; dw < first+n; dw += 64 - dw%64 {
		if s[dw/64]&wordMask(dw, first+n) != 0 {
			return false
		}
	}
	for dw := first; dw < first+n; dw += 64 - dw%64 {
		s[dw/64] |= wordMask(dw, first+n)
	}
	return true
}

// wordMask has the bits from dw on, up to end or to the end of dw's word.
func wordMask(dw, end int) uint64 {
	n := min(64-dw%64, end-dw)
	return ^uint64(0) >> (64 - n) << (dw % 64)
}

// prefix returns how many DWs from the first on are there without a gap.
func (s *dwSet) prefix() (n int) {
	for _, word := range s {
		ones := bits.TrailingZeros64(^word)
		n += ones
		if ones < 64 {
			break
		}
	}
	return n
}
