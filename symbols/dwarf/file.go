package dwarf

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"physgdb/internal/regular"
)

// sections are the sections .debug_* of a file by the rest of their names. Their bytes are
// read-only.
type sections map[string][]byte

// debugFile is an ELF file in memory, page by page as its DWARF is read: that of a kernel is
// hundreds of megabytes, of which a backtrace needs a few. Reading bytes of a file that shrank
// meanwhile is a fault: callers must set runtime/debug.SetPanicOnFault.
type debugFile struct {
	sections
	mapped []byte
}

func openDebugFile(path string) (*debugFile, error) {
	mapped, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	f := &debugFile{sections{}, mapped}
	if err := f.findSections(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func mapFile(path string) ([]byte, error) {
	f, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 {
		return nil, fmt.Errorf("%s: %w: not a regular file, or an empty one", path, fs.ErrInvalid)
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return mapped, nil
}

func (f *debugFile) findSections() error {
	file, err := elf.NewFile(bytes.NewReader(f.mapped))
	if err != nil {
		return err
	}
	if file.Machine != elf.EM_X86_64 {
		return fmt.Errorf("built for %v, want x86-64", file.Machine)
	}
	for _, s := range file.Sections {
		name, ok := strings.CutPrefix(s.Name, ".debug_")
		if !ok || s.Type == elf.SHT_NOBITS {
			continue
		}
		if f.sections[name], err = f.bytesOf(s); err != nil {
			return fmt.Errorf("section %s: %w", s.Name, err)
		}
	}
	if len(f.sections["info"]) == 0 || len(f.sections["abbrev"]) == 0 {
		return errors.New("has no debug information (DWARF)")
	}
	return nil
}

// bytesOf returns a section as it lies in the file, or a copy if it has to be decompressed.
func (f *debugFile) bytesOf(s *elf.Section) ([]byte, error) {
	if s.Flags&elf.SHF_COMPRESSED != 0 {
		return s.Data()
	}
	size := uint64(len(f.mapped))
	if s.Offset > size || s.FileSize > size-s.Offset {
		return nil, errors.New("extends beyond the end of the file")
	}
	return f.mapped[s.Offset:][:s.FileSize:s.FileSize], nil
}

// Close forgets the file. Nothing may read its bytes any more.
func (f *debugFile) Close() error {
	if f.mapped == nil {
		return fs.ErrClosed
	}
	err := unix.Munmap(f.mapped)
	*f = debugFile{}
	return err
}

// recoverTo turns a panic of a parser that met damaged data into an error.
func recoverTo(err *error, what string) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s: damaged: %v", what, p)
	}
}
