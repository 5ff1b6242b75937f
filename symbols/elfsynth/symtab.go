package elfsynth

import (
	"debug/elf"
	"encoding/binary"
	"fmt"

	"physgdb/symbols"
)

// addSymtab adds .symtab and .strtab, in which equal names are one. sections are the numbers that
// the program's have in the file. The error says that there was no room for some names.
func (f *file) addSymtab(n *names, sections []int) error {
	const entry = 24
	table := make([]byte, entry, entry*(len(n.symbols)+1))
	strings := make([]byte, 1, 32*len(n.symbols)+1)
	places := make(map[string]uint32, len(n.symbols)) // of names in strings
	left := 0
	add := func(local bool) {
		for i := range n.symbols {
			if s := n.symbols[i]; s.Local == local {
				at, known := places[s.Name]
				if !known && len(strings)+len(s.Name) >= maxStrtab {
					left++
					continue
				}
				if s.Func && n.alias(i) {
					s.Size = 0 // gdb names an address after the symbol that has a size
				}
				if !known {
					at = uint32(len(strings))
					places[s.Name] = at
					strings = append(append(strings, s.Name...), 0)
				}
				table = appendSymbol(table, &s, at, symbolSection(n.sections[i], sections))
			}
		}
	}
	add(true)
	locals := len(table) / entry
	add(false)

	f.add(".symtab", section{elf.Section64{
		Type: uint32(elf.SHT_SYMTAB), Link: uint32(len(f.sections) + 1), Info: uint32(locals), Addralign: 8, Entsize: entry,
	}, table})
	f.add(".strtab", section{elf.Section64{Type: uint32(elf.SHT_STRTAB)}, strings})
	if left > 0 {
		return fmt.Errorf("%d symbols: their names need more than %d MB: damaged", left, maxStrtab>>20)
	}
	return nil
}

func symbolSection(i int, sections []int) uint16 {
	if i == none {
		return uint16(elf.SHN_ABS)
	}
	return uint16(sections[i])
}

// appendSymbol appends an entry of a symbol table (elf.Sym64).
func appendSymbol(b []byte, s *symbols.Symbol, name uint32, section uint16) []byte {
	bind, typ := elf.STB_GLOBAL, elf.STT_OBJECT
	switch {
	case s.Local:
		bind = elf.STB_LOCAL
	case s.Weak:
		bind = elf.STB_WEAK
	}
	if s.Func {
		typ = elf.STT_FUNC
	}
	le := binary.LittleEndian
	b = le.AppendUint32(b, name)
	b = append(b, elf.ST_INFO(bind, typ), byte(elf.STV_DEFAULT))
	b = le.AppendUint16(b, section)
	b = le.AppendUint64(b, s.Addr)
	return le.AppendUint64(b, s.Size)
}
