package symbols

import (
	"debug/elf"
	"fmt"
	"os"

	"physgdb/internal/regular"
)

// elfFile is an ELF file on disk.
type elfFile struct {
	*elf.File
	disk *os.File
}

// Close closes the file.
func (f *elfFile) Close() error { return f.disk.Close() }

func openAnyELF(path string) (*elfFile, error) {
	disk, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(disk)
	if err != nil {
		disk.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &elfFile{f, disk}, nil
}

// openELF opens a file built for x86-64. Section headers are all it reads.
func openELF(path string) (*elfFile, error) {
	f, err := openAnyELF(path)
	if err != nil {
		return nil, err
	}
	if f.Machine != elf.EM_X86_64 {
		f.Close()
		return nil, fmt.Errorf("%s: built for %v, want x86-64", path, f.Machine)
	}
	return f, nil
}
