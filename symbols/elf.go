package symbols

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strings"
)

// ReadELF reads the symbol table and the build-id of an ELF file, such as a vmlinux. It reads nothing else of the file.
func ReadELF(path string) (*Table, error) {
	f, err := openELF(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	syms, err := readSymtab(f)
	if err != nil {
		return nil, fmt.Errorf("%s: symbol table: %w", path, err)
	}
	if syms == nil {
		return nil, fmt.Errorf("%s: has no symbol table (stripped?): a vmlinux with debug information has one", path)
	}
	id, err := elfBuildID(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return newRankedTable(syms, id), nil
}

// readSymtab reads the symbol table (ELF-64 Object File Format, figure 6); nil if there is none. A kernel has more than a
// hundred thousand symbols, which debug/elf would take five times as long for.
func readSymtab(f *elfFile) ([]Symbol, error) {
	section := f.SectionByType(elf.SHT_SYMTAB)
	if section == nil {
		return nil, nil
	}
	table, err := section.Data()
	if err != nil {
		return nil, err
	}
	if int(section.Link) >= len(f.Sections) {
		return nil, fmt.Errorf("its names are in section %d, which does not exist", section.Link)
	}
	content, err := f.Sections[section.Link].Data()
	if err != nil {
		return nil, err
	}
	names := string(content)
	syms := make([]Symbol, 0, len(table)/elf.Sym64Size)
	for ; len(table) >= elf.Sym64Size; table = table[elf.Sym64Size:] {
		info, section := table[4], elf.SectionIndex(binary.LittleEndian.Uint16(table[6:]))
		kind := elf.ST_TYPE(info)
		if section == elf.SHN_UNDEF || kind == elf.STT_SECTION || kind == elf.STT_FILE {
			continue
		}
		at := binary.LittleEndian.Uint32(table)
		if uint64(at) >= uint64(len(names)) {
			return nil, fmt.Errorf("a name at %d of %d bytes", at, len(names))
		}
		end := strings.IndexByte(names[at:], 0)
		if end <= 0 || names[at] == '[' { // see border in package elfsynth
			continue
		}
		syms = append(syms, Symbol{
			Name: names[at : int(at)+end],
			Addr: binary.LittleEndian.Uint64(table[8:]), Size: binary.LittleEndian.Uint64(table[16:]),
			Func: kind == elf.STT_FUNC, Local: elf.ST_BIND(info) == elf.STB_LOCAL,
			Weak: elf.ST_BIND(info) == elf.STB_WEAK && kind != elf.STT_OBJECT,
		})
	}
	return syms, nil
}

// elfBuildID returns a file's build-id, or nil if it has none.
func elfBuildID(f *elfFile) ([]byte, error) {
	for _, s := range f.Sections {
		if s.Type != elf.SHT_NOTE {
			continue
		}
		notes, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("section %s: %w", s.Name, err)
		}
		if id := BuildID(notes); id != nil {
			return id, nil
		}
	}
	return nil, nil
}
