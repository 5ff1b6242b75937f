package elffile

import (
	"debug/elf"
	"fmt"
	"os"

	"physgdb/internal/regular"
)

// Raw is an ELF file for x86-64 on disk. Only its headers have been read.
type Raw struct {
	*elf.File
	disk *os.File
}

// OpenRaw opens an ELF file built for x86-64 and reads its headers. The caller must close it.
func OpenRaw(path string) (*Raw, error) {
	disk, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(disk)
	if err == nil && f.Machine != elf.EM_X86_64 {
		err = fmt.Errorf("built for %v, want x86-64", f.Machine)
	}
	if err != nil {
		disk.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Raw{f, disk}, nil
}

// Close closes the file.
func (r *Raw) Close() error { return r.disk.Close() }

// BuildID returns the build-id in the notes of the file, or nil if there is none.
func (r *Raw) BuildID() ([]byte, error) { return buildID(r.File) }

func buildID(f *elf.File) ([]byte, error) {
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
