package debuginfo

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"physgdb/internal/regular"
	"physgdb/symbols/elffile"
)

// ModuleFile is the file of a kernel module on this computer, a relocatable ELF file.
//
// It is read with its sections at address 0, as in other relocatable files. In those of newer
// kernels the addresses are not 0, since the linker script of modules contains
// __patchable_function_entries: gdb then moves all addresses in DWARF by that of .text, and prints
// wrong values of variables without a warning.
type ModuleFile struct {
	// BuildID is the build-id of the file; nil if it has none.
	BuildID []byte
	// Debug reports whether the file has DWARF.
	Debug bool
	// Moved reports whether the sections in the file are not at address 0. gdb must not load such a
	// file itself.
	Moved bool

	// Path is the path of the file, and Sections are the headers of its sections.
	Path     string
	Sections []elf.SectionHeader

	file    *os.File
	size    int64
	headers []byte // of the sections, as they are read
	at      int64  // offset of the headers in the file
}

// Offsets in the header of a file and of a section, and the size of the latter (ELF-64 Object File
// Format, figures 2 and 4).
const (
	elfSectionsAt   = 40
	elfSectionCount = 60
	elfSectionAddr  = 16
	elfSectionSize  = 64
)

// OpenModuleFile opens the file of a module, or the file of its debug information. It must be
// closed.
func OpenModuleFile(path string) (*ModuleFile, error) {
	file, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	m := &ModuleFile{Path: path, file: file}
	if err := m.parse(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), file.Close())
	}
	return m, nil
}

// Close closes the file.
func (m *ModuleFile) Close() error { return m.file.Close() }

// Size returns the size of the file in bytes.
func (m *ModuleFile) Size() int64 { return m.size }

// ReadAt implements io.ReaderAt.
func (m *ModuleFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := m.file.ReadAt(p, off)
	if from, to := max(off, m.at), min(off+int64(n), m.at+int64(len(m.headers))); from < to {
		copy(p[from-off:to-off], m.headers[from-m.at:])
	}
	return n, err
}

func (m *ModuleFile) parse() error {
	info, err := m.file.Stat()
	if err != nil {
		return err
	}
	m.size = info.Size()
	f, err := elf.NewFile(m.file)
	if err != nil {
		return fmt.Errorf("is not an ELF file, or is damaged: %w", err)
	}
	if f.Machine != elf.EM_X86_64 || f.Class != elf.ELFCLASS64 || f.Type != elf.ET_REL {
		return fmt.Errorf("is not a module for x86-64 (%v, %v)", f.Machine, f.Type)
	}
	for _, s := range f.Sections {
		m.Sections = append(m.Sections, s.SectionHeader)
		m.Debug = m.Debug || s.Name == ".debug_info" && s.Type != elf.SHT_NOBITS
		m.Moved = m.Moved || s.Addr != 0
		if s.Type == elf.SHT_NOTE && m.BuildID == nil {
			notes, err := s.Data()
			if err != nil {
				return fmt.Errorf("section %s: %w", s.Name, err)
			}
			m.BuildID = elffile.BuildID(notes)
		}
	}
	return m.readHeaders()
}

// readHeaders reads the section headers and sets all addresses to 0.
func (m *ModuleFile) readHeaders() error {
	var header [elfSectionSize]byte // the header of the file has the same size
	if _, err := m.file.ReadAt(header[:], 0); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	m.at = int64(binary.LittleEndian.Uint64(header[elfSectionsAt:]))
	count := int(binary.LittleEndian.Uint16(header[elfSectionCount:]))
	if count != len(m.Sections) { // extended numbering, which the kernel does not support
		return fmt.Errorf("has %d sections, too many for a module", len(m.Sections))
	}
	m.headers = make([]byte, elfSectionSize*count)
	if _, err := io.ReadFull(io.NewSectionReader(m.file, m.at, int64(len(m.headers))), m.headers); err != nil {
		return fmt.Errorf("table of sections: %w", err)
	}
	for at := elfSectionAddr; at < len(m.headers); at += elfSectionSize {
		clear(m.headers[at : at+8])
	}
	return nil
}
