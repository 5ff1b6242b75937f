// Package elffile reads the symbols and the debug information of a program, such as a vmlinux, from
// an ELF file.
package elffile

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"physgdb/symbols"
	"physgdb/symbols/btf"
	"physgdb/symbols/dwarf"
	"physgdb/symbols/orc"
)

// File is the symbols and the debug information in an ELF file. Everything but the symbols is read
// on first use. It is safe for concurrent use.
type File struct {
	*symbols.Table
	path string

	types    func() (symbols.Types, error)
	unwinder func() (symbols.Unwinder, error)
	lines    func() (*dwarf.Lines, error)

	mu     sync.Mutex
	closed bool
	mapped []io.Closer // parts of the file that are mapped into memory
}

// Open reads the symbols and the build-id of an ELF file. The file must not change until Close.
func Open(path string) (*File, error) {
	table, err := ReadTable(path)
	if err != nil {
		return nil, err
	}
	f := &File{Table: table, path: path}
	f.types = sync.OnceValues(f.readTypes)
	f.unwinder = sync.OnceValues(f.readUnwinder)
	f.lines = sync.OnceValues(func() (*dwarf.Lines, error) { return keep(f, dwarf.OpenLines) })
	return f, nil
}

// Types returns the layouts of the program's data, from its BTF or else from its DWARF.
func (f *File) Types() (symbols.Types, error) { return f.types() }

// Unwinder returns how to unwind the program's functions, by link addresses: from its ORC table or
// else from its CFI.
func (f *File) Unwinder() (symbols.Unwinder, error) { return f.unwinder() }

// Lines returns the source lines of the program's code, from its DWARF.
func (f *File) Lines() (*dwarf.Lines, error) { return f.lines() }

// Close releases what is mapped of the file. Types and lines cannot be used afterwards.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	var errs []error
	for _, m := range f.mapped {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// keep opens a part of the file that is closed with the file.
func keep[T io.Closer](f *File, open func(path string) (T, error)) (part T, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return part, fs.ErrClosed
	}
	if part, err = open(f.path); err == nil {
		f.mapped = append(f.mapped, part)
	}
	return part, err
}

func (f *File) readTypes() (symbols.Types, error) {
	if types, err := read(f.path, btf.Read); err == nil {
		return types, nil
	}
	types, err := keep(f, dwarf.OpenTypes)
	if err != nil {
		return nil, err
	}
	return types, nil
}

func (f *File) readUnwinder() (symbols.Unwinder, error) {
	if table, err := read(f.path, orc.Read); err == nil {
		table.FollowStackCalls(f.Table)
		return table, nil
	}
	cfi, err := read(f.path, dwarf.ReadCFI)
	if err != nil {
		return nil, err
	}
	return cfi, nil
}

// read opens an ELF file, reads something from it, and closes it.
func read[T any](path string, from func(*elf.File) (T, error)) (v T, err error) {
	raw, err := OpenRaw(path)
	if err != nil {
		return v, err
	}
	defer raw.Close()
	if v, err = from(raw.File); err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}
