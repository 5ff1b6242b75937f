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

// Table finds symbols by name and by address. It is immutable and safe for concurrent use.
type Table struct {
	// BuildID is the GNU build-id of what the names belong to; empty if it has none.
	BuildID []byte

	symbols []Symbol // by address
	names   func() map[string]int32
}

// NewTable makes a table of symbols.
func NewTable(syms []Symbol, buildID []byte) *Table { return newTable(slices.Clone(syms), buildID) }

// newTable makes a table of symbols that nobody else holds.
func newTable(syms []Symbol, buildID []byte) *Table {
	slices.SortStableFunc(syms, func(a, b Symbol) int { return cmp.Compare(a.Addr, b.Addr) })
	t := &Table{BuildID: buildID, symbols: syms}
	t.names = sync.OnceValue(func() map[string]int32 {
		m := make(map[string]int32, len(syms))
		for i := len(syms) - 1; i >= 0; i-- { // of equal names the lowest address counts
			m[syms[i].Name] = int32(i)
		}
		return m
	})
	return t
}

// Len returns the number of symbols.
func (t *Table) Len() int { return len(t.symbols) }

// Lookup finds a symbol by its name.
func (t *Table) Lookup(name string) (Symbol, bool) {
	i, ok := t.names()[name]
	if !ok {
		return Symbol{}, false
	}
	return t.symbols[i], true
}

// At finds the symbol that a link address lies in, and how far into it, in bytes. A symbol whose size is not known
// reaches to the next.
func (t *Table) At(addr uint64) (sym Symbol, off uint64, ok bool) {
	end := sort.Search(len(t.symbols), func(i int) bool { return t.symbols[i].Addr > addr })
	for i := end - 1; i >= 0 && t.symbols[i].Addr == t.symbols[end-1].Addr; i-- {
		s := &t.symbols[i]
		if s.Size > 0 && addr-s.Addr >= s.Size {
			continue
		}
		if !ok || better(s, &sym) {
			sym, ok = *s, true
		}
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
