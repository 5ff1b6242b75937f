package module

import (
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"unsafe"

	"physgdb/symbols/linux"

	"physgdb/symbols/linux/kmem"

	"physgdb/mmu"
	"physgdb/symbols"
)

// Symbols is the symbols of a module. Addresses are those in the running kernel.
type Symbols struct {
	// All are the symbols in the order of the module's own table, with the sizes in its file. Those
	// of per-CPU variables are offsets.
	All []symbols.Symbol
	// Damage says why symbols are missing.
	Damage []error

	kmem.Timeouts
	places []symbols.Symbol // in ascending order of distinct addresses; the size is the distance to the next
}

// At returns the symbol that contains an address, and the offset of the address in it, in bytes.
// Like the kernel's log, it uses the nearest symbol below the address in the same region, whose
// size is the distance to the next symbol.
func (s *Symbols) At(addr uint64) (sym symbols.Symbol, off uint64, ok bool) {
	i := sort.Search(len(s.places), func(i int) bool { return s.places[i].Addr > addr }) - 1
	if i < 0 || addr-s.places[i].Addr >= s.places[i].Size {
		return symbols.Symbol{}, 0, false
	}
	return s.places[i], addr - s.places[i].Addr, true
}

// Limits for damaged memory; the largest modules have some 60,000 symbols.
const (
	maxSymbols    = 1 << 18
	maxNames      = 16 << 20 // bytes
	maxSymbolName = 1 << 10  // bytes; KSYM_NAME_LEN is 512
)

// Symbols returns the symbols in the module's memory (kernel/module/kallsyms.c).
func (m *Module) Symbols(ctx context.Context) (*Symbols, error) {
	return m.symbols.Get(ctx, func(ctx context.Context) (*Symbols, error) {
		raw, err := m.readKallsyms(ctx)
		if err != nil {
			return nil, fmt.Errorf("symbols of module %s: %w", m.Name, err)
		}
		s, err := newSymbols(ctx, m.Regions, raw)
		if err != nil {
			m.owner.tables.giveBack(raw.counted)
		}
		return s, err
	})
}

// kallsymsTables are the tables of a module's symbols. Each may be incomplete.
type kallsymsTables struct {
	symtab []byte // Elf64_Sym each
	strtab []byte
	types  []byte // a letter for each symbol, as in /proc/kallsyms; empty before 5.2
	damage kmem.Damage

	counted int // bytes in the quota of the kernel
}

// modKallsyms is struct mod_kallsyms (include/linux/module.h).
type modKallsyms struct {
	Symtab uint64 `c:"symtab"`
	Count  uint64 `c:"num_symtab"`
	Strtab uint64 `c:"strtab"`
	Types  uint64 `c:"?typetab"`
}

// readKallsyms reads the tables: one batch for their addresses and one for their contents.
func (m *Module) readKallsyms(ctx context.Context) (*kallsymsTables, error) {
	if m.kallsyms == 0 {
		return nil, errors.New("this kernel keeps none (CONFIG_KALLSYMS)")
	}
	layout, err := linux.StructOf[modKallsyms](ctx, m.owner.k, "mod_kallsyms")
	if err != nil {
		return nil, err
	}
	s, err := layout.ReadOne(ctx, m.owner.k.Space, m.kallsyms)
	if err != nil {
		return nil, err
	}
	symtab, count, strtab, types := s.Symtab, s.Count, s.Strtab, s.Types
	if err := m.inside("symbol table", symtab, count, elf.Sym64Size); err != nil {
		return nil, err
	}
	names := m.region(strtab)
	if names == nil || count > maxSymbols {
		return nil, fmt.Errorf("%d symbols, names at %#x: damaged", count, strtab)
	}
	// The size of the table of names is not stored. It ends where its region or another table
	// begins.
	end := min(names.Base+names.Size, strtab+maxNames)
	for _, other := range []uint64{symtab, types} {
		if other > strtab {
			end = min(end, other)
		}
	}
	size := keptSize(int(count), int(end-strtab))
	if err := m.owner.tables.take(size); err != nil {
		return nil, err
	}
	ops := []mmu.Op{{VA: symtab, Buf: make([]byte, count*elf.Sym64Size)}, {VA: strtab, Buf: make([]byte, end-strtab)}}
	if types != 0 {
		ops = append(ops, mmu.Op{VA: types, Buf: make([]byte, count)})
	}
	t, err := m.readTables(ctx, ops)
	if err != nil {
		m.owner.tables.giveBack(size)
		return nil, err
	}
	t.counted = size
	return t, nil
}

// keptSize returns the memory that symbols and their names take, in bytes.
func keptSize(count, names int) int {
	const lists = 2 // with each symbol: Symbols.All and places
	return lists*count*int(unsafe.Sizeof(symbols.Symbol{})) + names
}

func (m *Module) readTables(ctx context.Context, ops []mmu.Op) (*kallsymsTables, error) {
	if err := m.owner.k.Space.ReadAll(ctx, ops); err != nil {
		return nil, err
	}
	t := &kallsymsTables{symtab: ops[0].Buf[:ops[0].N], strtab: ops[1].Buf[:ops[1].N]}
	if len(ops) > 2 {
		t.types = ops[2].Buf[:ops[2].N]
	}
	for i := range ops {
		if ops[i].Err != nil {
			t.damage.Add("symbols of module %s: %w", m.Name, ops[i].Err)
		}
	}
	return t, nil
}

// newSymbols decodes the tables. The error is ctx's.
func newSymbols(ctx context.Context, regions []Region, t *kallsymsTables) (*Symbols, error) {
	const interval = 1 << 12 // symbols between checks of ctx
	s := &Symbols{}
	names := string(t.strtab)                               // each name is a substring, which takes no memory of its own
	for i := 1; (i+1)*elf.Sym64Size <= len(t.symtab); i++ { // the first symbol is empty
		if i%interval == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		sym, err := t.symbol(i, names)
		if err != nil {
			t.damage.Add("symbol %d: %w", i, err)
		} else if sym.Name != "" {
			s.All = append(s.All, sym)
		}
	}
	s.Damage, s.Timeouts = t.damage.List(), t.damage.Timeouts
	s.places = placesOf(s.All, regions)
	return s, ctx.Err()
}

// symbol decodes the i-th symbol (ELF-64 Object File Format, figure 6). The name is empty if the
// symbol is not defined in the module. names is strtab.
func (t *kallsymsTables) symbol(i int, names string) (symbols.Symbol, error) {
	p := t.symtab[i*elf.Sym64Size:][:elf.Sym64Size]
	name, info, section := binary.LittleEndian.Uint32(p), p[4], elf.SectionIndex(binary.LittleEndian.Uint16(p[6:]))
	if section == elf.SHN_UNDEF {
		return symbols.Symbol{}, nil
	}
	if uint64(name) >= uint64(len(t.strtab)) {
		return symbols.Symbol{}, fmt.Errorf("its name is missing")
	}
	text := t.strtab[name:min(uint64(len(t.strtab)), uint64(name)+maxSymbolName)]
	end := bytes.IndexByte(text, 0)
	if end < 0 || !symbols.Printable(text[:end]) {
		return symbols.Symbol{}, fmt.Errorf("its name is damaged")
	}
	isFunc, isLocal := elf.ST_TYPE(info) == elf.STT_FUNC, elf.ST_BIND(info) == elf.STB_LOCAL
	if i < len(t.types) {
		// The kernel writes the letters of nm into st_info up to 5.1, and into typetab since
		// (add_kallsyms(), kernel/module/kallsyms.c).
		isFunc = strings.IndexByte("tTwW", t.types[i]) >= 0
	}
	return symbols.Symbol{
		Name:  names[name:][:end],
		Addr:  binary.LittleEndian.Uint64(p[8:]),
		Size:  binary.LittleEndian.Uint64(p[16:]),
		Func:  isFunc,
		Local: isLocal,
	}, nil
}

// placesOf sorts symbols by address. Of several at one address the first is kept, as in the kernel.
func placesOf(all []symbols.Symbol, regions []Region) []symbols.Symbol {
	var places []symbols.Symbol
	for i := range regions {
		places = append(places, placesIn(all, &regions[i])...)
	}
	slices.SortFunc(places, byAddr)
	return places
}

func placesIn(all []symbols.Symbol, r *Region) []symbols.Symbol {
	var places []symbols.Symbol
	for _, s := range all {
		if r.contains(s.Addr) && !IsMappingSymbol(s.Name) {
			places = append(places, s)
		}
	}
	slices.SortStableFunc(places, byAddr)
	places = slices.CompactFunc(places, func(a, b symbols.Symbol) bool { return a.Addr == b.Addr })
	end := r.Base + r.Size
	for i := len(places) - 1; i >= 0; i-- {
		places[i].Size = end - places[i].Addr
		end = places[i].Addr
	}
	return places
}

func byAddr(a, b symbols.Symbol) int { return cmp.Compare(a.Addr, b.Addr) }

// IsMappingSymbol reports whether a name is that of a symbol of the assembler (is_mapping_symbol(),
// include/linux/module_symbol.h).
func IsMappingSymbol(name string) bool {
	return strings.HasPrefix(name, ".L") || strings.HasPrefix(name, "L0") || strings.HasPrefix(name, "$")
}
