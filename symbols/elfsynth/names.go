package elfsynth

import "physgdb/symbols"

// names are the symbols of a program in the order of their addresses, each with a size and a
// section.
type names struct {
	symbols  []symbols.Symbol
	sections []int          // by symbol: the number of the section of Program that it lies in, or none
	byName   map[string]int // by name: a symbol; ambiguous if there are several
}

const (
	none      = -1
	ambiguous = -1
)

func newNames(all []symbols.Symbol, sections []Section) *names {
	n := &names{
		symbols:  make([]symbols.Symbol, 0, len(all)),
		sections: make([]int, len(all)),
		byName:   make(map[string]int, len(all)),
	}
	for s := range symbols.NewTable(all, nil).All() {
		n.symbols = append(n.symbols, s)
	}
	next, at := uint64(0), uint64(0) // the next symbol's address, and the lowest that was seen
	for i := len(n.symbols) - 1; i >= 0; i-- {
		s := &n.symbols[i]
		if s.Addr != at || i == len(n.symbols)-1 {
			next, at = at, s.Addr
		}
		n.sections[i] = sectionOf(sections, s.Addr)
		s.Size = sizeOf(sections, s, n.sections[i], next)
	}
	for i := range n.symbols {
		n.index(i)
	}
	return n
}

// alias reports whether a symbol is not the first at its address, which is the one that the kernel
// prints.
func (n *names) alias(i int) bool { return i > 0 && n.symbols[i-1].Addr == n.symbols[i].Addr }

// sectionOf finds the section that an address lies in, or else the one that ends there, as _etext
// does with .text.
func sectionOf(sections []Section, addr uint64) int {
	found := none
	for i, s := range sections {
		if addr-s.Addr < s.Size {
			return i
		}
		if addr-s.Addr == s.Size {
			found = i
		}
	}
	return found
}

// sizeOf returns how far a symbol reaches within its section: as it says, or else to the next one.
func sizeOf(sections []Section, s *symbols.Symbol, section int, next uint64) uint64 {
	size := s.Size
	if size == 0 && next > s.Addr {
		size = next - s.Addr
	}
	if section == none {
		return s.Size
	}
	end := sections[section].Addr + sections[section].Size
	if size == 0 || size > end-s.Addr {
		size = end - s.Addr
	}
	return size
}

// index enters a symbol by its name. Of several of one name, the only one that is known beyond its
// own source file counts.
func (n *names) index(i int) {
	name := n.symbols[i].Name
	if _, seen := n.byName[name]; seen {
		n.byName[name] = ambiguous
		return
	}
	n.byName[name] = i
}

// only returns the symbol of a name that no other has.
func (n *names) only(name []byte) (i int, ok bool) {
	i, ok = n.byName[string(name)]
	return i, ok && i != ambiguous
}
