package dwarf

import (
	"cmp"
	"debug/dwarf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// ErrNoSource says that debug information does not cover an address.
var ErrNoSource = errors.New("no source line known")

// SourceFrame is a function of the source at an address of code.
type SourceFrame struct {
	Function string // empty if only the line is known
	File     string // as given to the compiler, for kernels mostly relative to their source; empty if not known
	Line     int    // where it is, or where it calls the frame inside; 0 if not known
	Inlined  bool   // the compiler put it into the next frame of the list
}

// Lines finds source lines, by the DWARF of an ELF file whose pages it reads as it needs them. It
// is safe for concurrent use.
type Lines struct {
	mu     sync.Mutex
	file   *debugFile // nil when closed
	decode unitDecoder
	index  unitIndex                         // which unit an address is in
	units  *simplelru.LRU[uint64, *lineUnit] // decoded units by their offsets
}

// maxLineUnits bounds how many decoded units stay in memory. One of a kernel takes a quarter of a
// megabyte; the backtraces of all tasks go through a hundred.
const maxLineUnits = 128

// OpenLines finds the debug information of an ELF file, such as a vmlinux. The file must not change
// until Close.
func OpenLines(path string) (l *Lines, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverTo(&err, path)
	file, err := openDebugFile(path)
	if err != nil {
		return nil, err
	}
	return newLines(file), nil
}

func newLines(file *debugFile) *Lines {
	units, _ := simplelru.NewLRU[uint64, *lineUnit](maxLineUnits, nil)
	return &Lines{
		file:   file,
		decode: newUnitDecoder(file.sections),
		index:  newUnitIndex(file.sections),
		units:  units,
	}
}

// Close forgets the file. Calls of Frames after it fail.
func (l *Lines) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return fs.ErrClosed
	}
	file := l.file
	l.file = nil
	l.units.Purge()
	return file.Close()
}

// Frames returns the function at a link address and those that the compiler inlined there,
// innermost first. For a return address ask with the address before it. The error is ErrNoSource if
// the file does not cover the address.
func (l *Lines) Frames(pc uint64) (frames []SourceFrame, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil, fs.ErrClosed
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverTo(&err, "debug information")
	off, ok := l.index.find(pc)
	if !ok {
		return nil, fmt.Errorf("%#x: %w", pc, ErrNoSource)
	}
	u, err := l.unit(off)
	if err != nil {
		return nil, fmt.Errorf("debug information of %#x: %w", pc, err)
	}
	if frames, err = u.frames(pc); err != nil {
		return nil, fmt.Errorf("debug information of %#x: %w", pc, err)
	}
	if frames == nil {
		return nil, fmt.Errorf("%#x: %w", pc, ErrNoSource)
	}
	return frames, nil
}

// unit decodes the unit at an offset of .debug_info, unless it is known.
func (l *Lines) unit(off uint64) (*lineUnit, error) {
	if u, ok := l.units.Get(off); ok {
		return u, nil
	}
	h, err := l.file.unitHeaderAt(off)
	if err != nil {
		return nil, err
	}
	data, err := l.decode.open(h)
	if err != nil {
		return nil, err
	}
	u := &lineUnit{unitData: data, trees: map[dwarf.Offset]*inlineTree{}}
	root, r, err := u.root()
	if err != nil {
		return nil, err
	}
	if err := u.readFunctions(r); err != nil {
		return nil, err
	}
	if err := l.file.checkLineTable(root); err != nil {
		return nil, err
	}
	if err := u.readRows(root); err != nil {
		return nil, err
	}
	l.units.Add(off, u)
	return u, nil
}

// lineUnit is a decoded unit: its functions and its line table.
type lineUnit struct {
	unitData
	functions []codeRange // by address; of those at the same address the outer one first
	trees     map[dwarf.Offset]*inlineTree
	rows      []lineRow
	files     []*dwarf.LineFile // by the numbers that call sites give
}

// codeRange is a stretch of a function's code.
type codeRange struct {
	low, high uint64
	entry     dwarf.Offset
}

// lineRow is where the code of a source line starts. It ends at the next row.
type lineRow struct {
	addr uint64
	file *dwarf.LineFile // may be nil
	line int
	end  bool // the code before ends here, and nothing starts
}

// readFunctions reads the ranges of all functions of the unit, but nothing inside of them.
func (u *lineUnit) readFunctions(r *entryReader) error {
	for {
		e, err := r.next()
		if err != nil {
			return err
		}
		if e == nil || e.Offset >= u.in(u.end) {
			break
		}
		switch e.Tag {
		case 0, dwarf.TagNamespace, dwarf.TagModule: // functions of Rust are in namespaces
			continue
		case dwarf.TagSubprogram:
			ranges, err := u.data.Ranges(e)
			if err != nil {
				return err
			}
			for _, b := range ranges {
				u.functions = append(u.functions, codeRange{b[0], b[1], e.Offset})
			}
		}
		if err := r.skipChildren(e); err != nil {
			return err
		}
	}
	slices.SortStableFunc(u.functions, func(a, b codeRange) int { return cmp.Compare(a.low, b.low) })
	return nil
}

// readRows reads the line table.
func (u *lineUnit) readRows(root *dwarf.Entry) error {
	r, err := u.data.LineReader(root)
	if err != nil || r == nil {
		return err
	}
	var e dwarf.LineEntry
	for {
		err := r.Next(&e)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		u.rows = append(u.rows, lineRow{e.Address, e.File, e.Line, e.EndSequence})
	}
	// Where a sequence starts at the end of another, its row has to come last.
	slices.SortStableFunc(u.rows, func(a, b lineRow) int {
		switch {
		case a.addr != b.addr:
			return cmp.Compare(a.addr, b.addr)
		case a.end == b.end:
			return 0
		case a.end:
			return -1
		}
		return 1
	})
	u.files = r.Files()
	return nil
}
