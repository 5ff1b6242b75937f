// Package symbols holds names of addresses, whatever they were read from.
//
// Addresses are link addresses, as the file has them; whoever knows how far a running kernel was moved adds its slide.
package symbols

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"sync"
)

// Symbol is a name for a stretch of virtual addresses.
type Symbol struct {
	Name string
	Addr uint64 // link address
	Size uint64 // bytes; 0 if the source does not say
	Func bool   // code rather than data
}

// Table finds symbols by name and by address. It is immutable and safe for concurrent use. A kernel has more than a
// hundred thousand symbols, of which most sessions ask for a few: either index is made when it is first needed.
type Table struct {
	// BuildID is the GNU build-id of what the names belong to; empty if it has none.
	BuildID []byte

	symbols []Symbol
	byName  func() map[string]int32
	byAddr  func() []int32
}

// NewTable makes a table of symbols, which it keeps.
func NewTable(syms []Symbol, buildID []byte) *Table {
	return &Table{
		BuildID: buildID,
		symbols: syms,
		byName:  sync.OnceValue(func() map[string]int32 { return indexNames(syms) }),
		byAddr:  sync.OnceValue(func() []int32 { return indexAddrs(syms) }),
	}
}

// indexNames finds symbols by name. Of equal names the lowest address counts.
func indexNames(syms []Symbol) map[string]int32 {
	names := make(map[string]int32, len(syms))
	for i := range syms {
		if j, ok := names[syms[i].Name]; !ok || syms[i].Addr < syms[j].Addr {
			names[syms[i].Name] = int32(i)
		}
	}
	return names
}

// indexAddrs puts symbols in the order of their addresses.
func indexAddrs(syms []Symbol) []int32 {
	order := make([]int32, len(syms))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(syms[a].Addr, syms[b].Addr), cmp.Compare(a, b))
	})
	return order
}

// Lookup finds a symbol by its name.
func (t *Table) Lookup(name string) (Symbol, bool) {
	i, ok := t.byName()[name]
	if !ok {
		return Symbol{}, false
	}
	return t.symbols[i], true
}

// At finds the symbol that a link address lies in, and how far into it, in bytes. A symbol whose size is not known
// reaches to the next, and is returned with the size that it thereby has.
func (t *Table) At(addr uint64) (sym Symbol, off uint64, ok bool) {
	order := t.byAddr()
	end := sort.Search(len(order), func(i int) bool { return t.symbols[order[i]].Addr > addr })
	for i := end - 1; i >= 0; i-- {
		s := &t.symbols[order[i]]
		if s.Addr != t.symbols[order[end-1]].Addr {
			break
		}
		if s.Size > 0 && addr-s.Addr >= s.Size {
			continue
		}
		if !ok || better(s, &sym) {
			sym, ok = *s, true
		}
	}
	if sym.Size == 0 && end < len(order) {
		sym.Size = t.symbols[order[end]].Addr - sym.Addr
	}
	return sym, addr - sym.Addr, ok
}

// better reports whether a person would rather read a than b at the same address.
func better(a, b *Symbol) bool {
	if a.Func != b.Func {
		return a.Func
	}
	return strings.HasPrefix(b.Name, "_") && !strings.HasPrefix(a.Name, "_")
}
