package debuginfo

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"

	"physgdb/symbols/elffile"
)

// Why a file with the right build-id will not do.
var (
	errStripped = errors.New("has no symbol table (stripped?)")
	errNoDWARF  = errors.New("has no debug information (DWARF), so it adds nothing to the symbols in memory")
)

// checkVmlinux returns why a file is not the vmlinux of a build with symbols and DWARF. It reads
// headers and notes alone.
func checkVmlinux(path string, buildID []byte) error {
	f, err := openBuild(path, buildID)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.SectionByType(elf.SHT_SYMTAB) == nil {
		return fmt.Errorf("%s %w", path, errStripped)
	}
	// A file that was split in two keeps the headers of sections without content.
	if info := f.Section(".debug_info"); info == nil || info.Type == elf.SHT_NOBITS || info.FileSize == 0 {
		return fmt.Errorf("%s %w", path, errNoDWARF)
	}
	return nil
}

// openBuild opens an ELF file that has to have a certain build-id.
func openBuild(path string, buildID []byte) (*elffile.Raw, error) {
	f, err := elffile.OpenRaw(path)
	if err != nil {
		return nil, err
	}
	has, err := f.BuildID()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if bytes.Equal(has, buildID) {
		return f, nil
	}
	f.Close()
	if len(has) == 0 {
		return nil, fmt.Errorf("%s has no build-id, so that it cannot be verified", path)
	}
	return nil, fmt.Errorf("%s is from another build: its build-id is %x, memory has %x", path, has, buildID)
}
