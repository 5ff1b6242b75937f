package symbols

import "sync"

// File is an ELF file with the symbols and the debug information of a program, such as a vmlinux. All but its symbols is
// read when it is first asked for. It is safe for concurrent use.
type File struct {
	*Table

	types    func() (Types, error)
	unwinder func() (Unwinder, error)
	lines    func() (*Lines, error)
}

// Open reads the symbols of an ELF file.
func Open(path string) (*File, error) {
	table, err := ReadELF(path)
	if err != nil {
		return nil, err
	}
	return &File{
		Table:    table,
		types:    sync.OnceValues(func() (Types, error) { return readTypes(path) }),
		unwinder: sync.OnceValues(func() (Unwinder, error) { return readUnwinder(path, table) }),
		lines:    sync.OnceValues(func() (*Lines, error) { return OpenLines(path) }),
	}, nil
}

// Types returns the layouts of the program's data, from its BTF or else from its DWARF.
func (f *File) Types() (Types, error) { return f.types() }

// Unwinder returns how to unwind its functions, by their link addresses: from its ORC tables, or else from its CFI.
func (f *File) Unwinder() (Unwinder, error) { return f.unwinder() }

// Lines returns which source lines its code came from, from its DWARF.
func (f *File) Lines() (*Lines, error) { return f.lines() }

func readTypes(path string) (Types, error) {
	if b, err := ReadBTF(path); err == nil {
		return b, nil
	}
	d, err := OpenDWARF(path)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func readUnwinder(path string, names *Table) (Unwinder, error) {
	if o, err := ReadORC(path); err == nil {
		o.FollowStackCalls(names)
		return o, nil
	}
	c, err := ReadCFI(path)
	if err != nil {
		return nil, err
	}
	return c, nil
}
