package bridge

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Range is a stretch of physical memory: the bytes from Start up to but not including End.
type Range struct{ Start, End PhysAddr }

// Size returns the length of the range in bytes.
func (r Range) Size() uint64 { return uint64(r.End - r.Start) }

// RAMMap says where RAM is: sorted ranges that neither touch nor overlap. The empty map means "not
// known".
type RAMMap []Range

// NewRAMMap sorts and joins ranges; empty ones are dropped.
func NewRAMMap(ranges []Range) RAMMap {
	in := slices.DeleteFunc(slices.Clone(ranges), func(r Range) bool { return r.End <= r.Start })
	slices.SortFunc(in, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	var m RAMMap
	for _, r := range in {
		if last := len(m) - 1; last >= 0 && r.Start <= m[last].End {
			m[last].End = max(m[last].End, r.End)
			continue
		}
		m = append(m, r)
	}
	return m
}

// Known reports whether anything is known of where RAM is.
func (m RAMMap) Known() bool { return len(m) > 0 }

// Prefix returns how many of the n bytes at addr are RAM before the first that is not.
func (m RAMMap) Prefix(addr PhysAddr, n uint64) uint64 {
	i := 0
	if len(m) > 8 {
		i = sort.Search(len(m), func(i int) bool { return addr < m[i].End })
	}
	for ; i < len(m); i++ {
		if r := &m[i]; addr < r.End {
			if addr < r.Start {
				return 0
			}
			return min(n, uint64(r.End-addr))
		}
	}
	return 0
}

// Contains reports whether all n bytes at addr are RAM.
func (m RAMMap) Contains(addr PhysAddr, n uint64) bool { return m.Prefix(addr, n) == n }

// Size returns the amount of RAM in bytes.
func (m RAMMap) Size() (n uint64) {
	for _, r := range m {
		n += r.Size()
	}
	return n
}

// Intersect returns what is RAM by both maps. An unknown map restricts nothing.
func (m RAMMap) Intersect(o RAMMap) RAMMap {
	switch {
	case !m.Known():
		return o
	case !o.Known():
		return m
	}
	var both []Range
	for _, a := range m {
		for _, b := range o {
			both = append(both, Range{max(a.Start, b.Start), min(a.End, b.End)})
		}
	}
	return NewRAMMap(both)
}

func (m RAMMap) String() string {
	if !m.Known() {
		return "unknown"
	}
	parts := make([]string, len(m))
	for i, r := range m {
		parts[i] = fmt.Sprintf("%#x-%#x", uint64(r.Start), uint64(r.End)-1)
	}
	return strings.Join(parts, ", ")
}

// ParseRAMMap reads where RAM is from text: a listing of /proc/iomem (as root sees it), of which
// the "System RAM" lines count, or plain lines `start-end`. Addresses are hexadecimal, with or
// without 0x, and end is the last byte, as in /proc/iomem. Empty lines and what follows a # are
// passed over.
func ParseRAMMap(r io.Reader) (RAMMap, error) {
	var ranges []Range
	scan := bufio.NewScanner(r)
	for line := 1; scan.Scan(); line++ {
		text, _, _ := strings.Cut(scan.Text(), "#")
		span, owner, named := strings.Cut(text, ":")
		if strings.TrimSpace(text) == "" || named && !strings.HasPrefix(strings.TrimSpace(owner), "System RAM") {
			continue
		}
		rg, err := parseRange(strings.TrimSpace(span))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		ranges = append(ranges, rg)
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("RAM map: %w", err)
	}
	m := NewRAMMap(ranges)
	switch {
	case !m.Known():
		return nil, fmt.Errorf("it has no RAM: want a /proc/iomem listing or lines start-end")
	case m.Size() == 1:
		return nil, fmt.Errorf("all its addresses are 0: /proc/iomem shows them to root only")
	}
	return m, nil
}

func parseRange(s string) (Range, error) {
	lo, hi, ok := strings.Cut(s, "-")
	if !ok {
		return Range{}, fmt.Errorf("%q is not start-end", s)
	}
	start, err1 := ParseAddr(lo)
	last, err2 := ParseAddr(hi)
	if err1 != nil || err2 != nil || last < start || last+1 == 0 {
		return Range{}, fmt.Errorf("%q is not start-end in hexadecimal", s)
	}
	return Range{start, last + 1}, nil
}

// ParseAddr reads a physical address in hexadecimal, with or without 0x.
func ParseAddr(s string) (PhysAddr, error) {
	s = strings.TrimSpace(s)
	v, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimPrefix(s, "0x"), "0X"), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a hexadecimal address", s)
	}
	return PhysAddr(v), nil
}
