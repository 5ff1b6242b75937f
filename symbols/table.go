// Package symbols defines names of addresses, independent of their origin.
//
// Addresses are link addresses, as in the file; callers that know the slide of a running kernel add
// it.
package symbols

import (
	"cmp"
	"hash/maphash"
	"iter"
	"slices"
	"sort"
	"strings"
	"sync"
)

// Symbol is a name for a stretch of virtual addresses.
type Symbol struct {
	Name  string
	Addr  uint64 // link address
	Size  uint64 // bytes; 0 if the source does not say
	Func  bool   // code rather than data
	Local bool   // known in its own source file alone
	Weak  bool   // gives way to another of its name; not known of data
}

// Printable reports whether p is plain ASCII without spaces, as the names of symbols are.
func Printable(p []byte) bool {
	for _, c := range p {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// Table finds symbols by name and by address. It is immutable and safe for concurrent use. A kernel
// has more than a hundred thousand symbols, of which most sessions ask for a few: either index is
// made when it is first needed.
//
// Of several symbols at one address the first is the one that names it: for a kernel's own table
// that is the one which the kernel prints (get_symbol_pos(), kernel/kallsyms.c, 5.10 to 7.3).
type Table struct {
	// BuildID is the GNU build-id of what the names belong to; empty if it has none.
	BuildID []byte

	symbols []Symbol
	byName  func() *nameIndex
	byAddr  func() []int32
}

// NewTable makes a table of symbols, which it keeps. Those at one address are in the order in which
// they are given.
func NewTable(syms []Symbol, buildID []byte) *Table {
	return &Table{
		BuildID: buildID,
		symbols: syms,
		byName:  sync.OnceValue(func() *nameIndex { return newNameIndex(syms) }),
		byAddr:  sync.OnceValue(func() []int32 { return indexAddrs(syms) }),
	}
}

// NewRankedTable is NewTable for the symbols of a file, whose order means nothing: those at one
// address are put in the order that a kernel's kallsyms would have them in.
func NewRankedTable(syms []Symbol, buildID []byte) *Table {
	t := NewTable(syms, buildID)
	t.byAddr = sync.OnceValue(func() []int32 {
		order := indexAddrs(syms)
		for rest := order; len(rest) > 0; {
			n := 1
			for n < len(rest) && syms[rest[n]].Addr == syms[rest[0]].Addr {
				n++
			}
			slices.SortStableFunc(rest[:n], func(a, b int32) int { return compareAliases(&syms[a], &syms[b]) })
			rest = rest[n:]
		}
		return order
	})
	return t
}

// nameIndex finds symbols by name: a hash table with open addressing, which is made in a fifth of
// the time that a map of so many strings takes. Of equal names the lowest address counts.
type nameIndex struct {
	syms  []Symbol
	seed  maphash.Seed
	slots []int32 // number of a symbol plus 1, or 0; at least half of them are empty
}

func newNameIndex(syms []Symbol) *nameIndex {
	size := 1
	for size < 2*len(syms)+1 {
		size *= 2
	}
	x := &nameIndex{syms, maphash.MakeSeed(), make([]int32, size)}
	for i := range syms {
		slot := x.find(syms[i].Name)
		if j := *slot - 1; j < 0 || syms[i].Addr < syms[j].Addr {
			*slot = int32(i) + 1
		}
	}
	return x
}

// find returns the slot of a name, or the empty one where it would be.
func (x *nameIndex) find(name string) *int32 {
	mask := uint64(len(x.slots) - 1)
	for at := maphash.String(x.seed, name) & mask; ; at = (at + 1) & mask {
		if slot := &x.slots[at]; *slot == 0 || x.syms[*slot-1].Name == name {
			return slot
		}
	}
}

// indexAddrs puts symbols in the order of their addresses, those at one address as they are. It
// sorts by 16 bits after 16 bits, from the lowest up, which takes a tenth of the time of comparing.
func indexAddrs(syms []Symbol) []int32 {
	const digits, bits = 4, 16
	order, next := make([]int32, len(syms)), make([]int32, len(syms))
	for i := range order {
		order[i] = int32(i)
	}
	for shift := 0; shift < digits*bits; shift += bits {
		var start [1<<bits + 1]int32 // where the symbols with a digit begin
		for i := range syms {
			start[int(uint16(syms[i].Addr>>shift))+1]++
		}
		for d := range start[1:] {
			start[d+1] += start[d]
		}
		for _, i := range order {
			d := uint16(syms[i].Addr >> shift)
			next[start[d]] = i
			start[d]++
		}
		order, next = next, order
	}
	return order
}

// Lookup finds a symbol by its name.
func (t *Table) Lookup(name string) (Symbol, bool) {
	i := *t.byName().find(name)
	if i == 0 {
		return Symbol{}, false
	}
	return t.symbols[i-1], true
}

// LookupAll finds all symbols of a name that have different addresses, in the order of these.
func (t *Table) LookupAll(name string) []Symbol {
	var found []Symbol
	for i := range t.symbols {
		if t.symbols[i].Name == name {
			found = append(found, t.symbols[i])
		}
	}
	slices.SortStableFunc(found, func(a, b Symbol) int { return cmp.Compare(a.Addr, b.Addr) })
	return slices.CompactFunc(found, func(a, b Symbol) bool { return a.Addr == b.Addr })
}

// At finds the symbol that a link address lies in, and how far into it, in bytes. Of several at one
// address it is the first, and its size is that of the largest. A symbol whose size is not known
// reaches to the next, and is returned with the size that it thereby has.
func (t *Table) At(addr uint64) (sym Symbol, off uint64, ok bool) {
	order := t.byAddr()
	end := sort.Search(len(order), func(i int) bool { return t.symbols[order[i]].Addr > addr })
	if end == 0 {
		return Symbol{}, 0, false
	}
	first := end - 1
	size, unsized := uint64(0), false
	for ; first >= 0 && t.symbols[order[first]].Addr == t.symbols[order[end-1]].Addr; first-- {
		s := &t.symbols[order[first]]
		size, unsized = max(size, s.Size), unsized || s.Size == 0
	}
	sym = t.symbols[order[first+1]]
	off = addr - sym.Addr
	switch {
	case off < size:
		sym.Size = size
	case !unsized:
		return Symbol{}, 0, false
	case end < len(order):
		sym.Size = t.symbols[order[end]].Addr - sym.Addr
	default:
		sym.Size = 0
	}
	return sym, off, true
}

// Next returns the lowest address above addr with a symbol; 0 if there is none.
func (t *Table) Next(addr uint64) uint64 {
	order := t.byAddr()
	i := sort.Search(len(order), func(i int) bool { return t.symbols[order[i]].Addr > addr })
	if i == len(order) {
		return 0
	}
	return t.symbols[order[i]].Addr
}

// Len returns how many symbols there are.
func (t *Table) Len() int { return len(t.symbols) }

// All enumerates the symbols in the order of their addresses.
func (t *Table) All() iter.Seq[Symbol] {
	return func(yield func(Symbol) bool) {
		for _, i := range t.byAddr() {
			if !yield(t.symbols[i]) {
				return
			}
		}
	}
}

// compareAliases orders symbols at one address as scripts/kallsyms.c does (compare_symbols(), 5.10
// to 7.3): weak ones come last, before them those that the linker provides for a section, before
// them by the number of underscores that they begin with; equal ones are in the order of nm, which
// is by name.
func compareAliases(a, b *Symbol) int {
	return cmp.Or(
		compareBool(a.Weak, b.Weak), compareBool(isSectionBound(a.Name), isSectionBound(b.Name)),
		cmp.Compare(underscores(a.Name), underscores(b.Name)), cmp.Compare(a.Name, b.Name),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func underscores(name string) int { return len(name) - len(strings.TrimLeft(name, "_")) }

// isSectionBound reports whether a name looks like one that the linker provides for the start or
// the end of a section (may_be_linker_script_provide_symbol(), scripts/kallsyms.c).
func isSectionBound(name string) bool {
	rest, ok := strings.CutPrefix(name, "__")
	if !ok || len(name) < 8 {
		return false
	}
	for _, word := range []string{"start", "stop", "end"} {
		if strings.HasPrefix(rest, word+"_") || word != "stop" && strings.HasSuffix(rest, "_"+word) {
			return true
		}
	}
	return false
}
