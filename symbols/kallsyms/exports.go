package kallsyms

import (
	"bytes"
	"encoding/binary"
	"slices"

	"physgdb/symbols"
)

// An entry of a kernel's table of exported symbols: struct kernel_symbol (include/linux/export.h of
// 5.10, kernel/module/internal.h of 6.4 and later) with CONFIG_HAVE_ARCH_PREL32_RELOCATIONS, which
// x86-64 has. Each number is 32 bits, relative to its own address: the value, the name, the
// namespace.
const (
	exportSize = 12
	exportName = 4 // offset of the name in an entry
)

// minExports is how many neighbouring entries must be exported functions of kallsyms for them to be
// a table.
const minExports = 8

// Bounds for a kernel's exports; kernels have some 20000.
const (
	maxExports     = 1 << 17
	maxExportBytes = 256 << 20 // of names that are looked at, in all places together
)

// FindExports returns the symbols that a kernel exports to modules. It looks for the tables in a
// stretch of memory that begins at the address base, and recognizes them by the functions in them,
// which kallsyms has, too. A kernel without CONFIG_KALLSYMS_ALL has the names of its exported data
// nowhere else. All addresses are of one kind, link addresses or run-time addresses. valid reports
// whether an address can be that of a symbol.
func FindExports(base uint64, image []byte, functions []symbols.Symbol, valid func(addr uint64) bool) []symbols.Symbol {
	t := &exportTables{base: base, image: image, functions: map[string][]uint64{}, valid: valid}
	for i := range functions {
		name := functions[i].Name
		t.functions[name] = append(t.functions[name], functions[i].Addr)
	}
	var all []symbols.Symbol
	for at := 0; at+exportSize <= len(image) && len(all) < maxExports && t.looked < maxExportBytes; {
		s, ok := t.entry(at)
		if !ok || !t.isFunction(s) {
			at += 4
			continue
		}
		found, end := t.around(at)
		all = append(all, found...)
		at = end
	}
	return all
}

// exportTables is the memory in which tables of exported symbols are looked for.
type exportTables struct {
	base      uint64
	image     []byte
	functions map[string][]uint64 // addresses by name
	valid     func(addr uint64) bool
	looked    int // bytes of names
}

// entry decodes the entry at an offset. It reports false if there cannot be one.
func (t *exportTables) entry(at int) (symbols.Symbol, bool) {
	if at < 0 || at+exportSize > len(t.image) {
		return symbols.Symbol{}, false
	}
	s := symbols.Symbol{Addr: t.base + uint64(at) + uint64(t.int32(at))}
	if !t.valid(s.Addr) {
		return symbols.Symbol{}, false
	}
	var ok bool
	s.Name, ok = t.nameAt(at + exportName + t.int32(at+exportName))
	return s, ok
}

func (t *exportTables) int32(at int) int { return int(int32(binary.LittleEndian.Uint32(t.image[at:]))) }

// nameAt returns the string at an offset. It may be the end of another string, as the linker merges
// them.
func (t *exportTables) nameAt(at int) (string, bool) {
	if at < 0 || at >= len(t.image) || t.looked > maxExportBytes {
		return "", false
	}
	text := t.image[at:min(len(t.image), at+mostName+1)]
	n := bytes.IndexByte(text, 0)
	t.looked += max(n, 0)
	if n < 1 || !symbols.Printable(text[:n]) {
		return "", false
	}
	return string(text[:n]), true
}

// isFunction reports whether kallsyms has a symbol.
func (t *exportTables) isFunction(s symbols.Symbol) bool {
	return slices.Contains(t.functions[s.Name], s.Addr)
}

// around returns the data in the table around an entry, and where the table ends. A table in which
// too few entries are functions is none.
func (t *exportTables) around(at int) (data []symbols.Symbol, end int) {
	start := at
	for ; ; start -= exportSize {
		if _, ok := t.entry(start - exportSize); !ok {
			break
		}
	}
	functions := 0
	for end = start; ; end += exportSize {
		s, ok := t.entry(end)
		switch {
		case !ok && functions < minExports:
			return nil, max(end, at+4)
		case !ok:
			return data, end
		case t.isFunction(s):
			functions++
		case t.functions[s.Name] == nil: // else it contradicts kallsyms
			data = append(data, s)
		}
	}
}
