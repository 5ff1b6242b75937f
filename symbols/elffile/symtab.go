package elffile

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"physgdb/symbols"
)

// ReadTable reads the symbol table and the build-id of an ELF file, such as a vmlinux. It reads
// nothing else of the file.
func ReadTable(path string) (*symbols.Table, error) {
	return read(path, readTable)
}

func readTable(f *elf.File) (*symbols.Table, error) {
	syms, err := readSymtab(f)
	if err != nil {
		return nil, fmt.Errorf("symbol table: %w", err)
	}
	if syms == nil {
		return nil, errors.New("has no symbol table (stripped?): a vmlinux with debug information has one")
	}
	id, err := buildID(f)
	if err != nil {
		return nil, err
	}
	return symbols.NewRankedTable(syms, id), nil
}

// readSymtab reads the symbol table (ELF-64 Object File Format, figure 6); nil if there is none. A
// kernel has more than a hundred thousand symbols, which debug/elf would take five times as long
// for.
func readSymtab(f *elf.File) ([]symbols.Symbol, error) {
	section := f.SectionByType(elf.SHT_SYMTAB)
	if section == nil {
		return nil, nil
	}
	table, err := section.Data()
	if err != nil {
		return nil, err
	}
	if int(section.Link) >= len(f.Sections) {
		return nil, fmt.Errorf("its string table is section %d, which does not exist", section.Link)
	}
	content, err := f.Sections[section.Link].Data()
	if err != nil {
		return nil, err
	}
	names := string(content)
	syms := make([]symbols.Symbol, 0, len(table)/elf.Sym64Size)
	for ; len(table) >= elf.Sym64Size; table = table[elf.Sym64Size:] {
		info, section := table[4], elf.SectionIndex(binary.LittleEndian.Uint16(table[6:]))
		kind := elf.ST_TYPE(info)
		if section == elf.SHN_UNDEF || kind == elf.STT_SECTION || kind == elf.STT_FILE {
			continue
		}
		at := binary.LittleEndian.Uint32(table)
		if uint64(at) >= uint64(len(names)) {
			return nil, fmt.Errorf("name offset %d is outside the string table of %d bytes", at, len(names))
		}
		end := strings.IndexByte(names[at:], 0)
		if end <= 0 || names[at] == '[' { // see border in package elfsynth
			continue
		}
		syms = append(syms, symbols.Symbol{
			Name: names[at : int(at)+end],
			Addr: binary.LittleEndian.Uint64(table[8:]), Size: binary.LittleEndian.Uint64(table[16:]),
			Func: kind == elf.STT_FUNC, Local: elf.ST_BIND(info) == elf.STB_LOCAL,
			Weak: elf.ST_BIND(info) == elf.STB_WEAK && kind != elf.STT_OBJECT,
		})
	}
	return syms, nil
}
