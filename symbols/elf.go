package symbols

import (
	"debug/elf"
	"errors"
	"fmt"
)

// ReadELF reads the symbol table and the build-id of an ELF file, such as a vmlinux. It reads nothing else of the file.
func ReadELF(path string) (*Table, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	if f.Machine != elf.EM_X86_64 {
		return nil, fmt.Errorf("%s: built for %v, want x86-64", path, f.Machine)
	}
	all, err := f.Symbols()
	if errors.Is(err, elf.ErrNoSymbols) {
		return nil, fmt.Errorf("%s: has no symbol table (stripped?): a vmlinux with debug information has one", path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: symbol table: %w", path, err)
	}
	syms := make([]Symbol, 0, len(all))
	for i := range all {
		s := &all[i]
		switch elf.ST_TYPE(s.Info) {
		case elf.STT_SECTION, elf.STT_FILE:
			continue
		}
		if s.Section != elf.SHN_UNDEF && s.Name != "" && s.Name[0] != '[' { // see border in package elfsynth
			syms = append(syms, Symbol{
				Name: s.Name, Addr: s.Value, Size: s.Size,
				Func: elf.ST_TYPE(s.Info) == elf.STT_FUNC, Local: elf.ST_BIND(s.Info) == elf.STB_LOCAL,
			})
		}
	}
	id, err := elfBuildID(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return NewTable(syms, id), nil
}

func elfBuildID(f *elf.File) ([]byte, error) {
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

// ReadNotes returns the ELF notes of a file, among which is its build-id, and their link address. It reads nothing else of
// the file.
func ReadNotes(path string) (addr uint64, notes []byte, err error) {
	f, err := openELF(path)
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	for _, s := range f.Sections {
		if s.Type != elf.SHT_NOTE {
			continue
		}
		if notes, err = s.Data(); err != nil {
			return 0, nil, fmt.Errorf("%s: section %s: %w", path, s.Name, err)
		}
		if BuildID(notes) != nil {
			return s.Addr, notes, nil
		}
	}
	return 0, nil, fmt.Errorf("%s: has no build-id", path)
}
