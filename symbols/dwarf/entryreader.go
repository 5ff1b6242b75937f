package dwarf

import (
	"debug/dwarf"
	"errors"
	"fmt"
)

// entryReader reads the entries of a unit, and comes to an end: at damaged bytes the reader of
// debug/dwarf can stay where it is, and references can lead in circles.
type entryReader struct {
	r    *dwarf.Reader
	left *int // entries to read, by this reader and those that share it
}

var errEndless = errors.New("damaged .debug_info: more entries than there can be")

// next reads the next entry; nil at the end of the unit.
func (r *entryReader) next() (*dwarf.Entry, error) {
	if *r.left--; *r.left < 0 {
		return nil, errEndless
	}
	return r.r.Next()
}

// at reads the entry at an offset. The reader continues after it.
func (r *entryReader) at(off dwarf.Offset) (*dwarf.Entry, error) {
	r.r.Seek(off)
	e, err := r.next()
	if err == nil && e == nil {
		err = fmt.Errorf("damaged .debug_info: no entry at offset %#x of a unit", off)
	}
	return e, err
}

// skipChildren skips the children of the entry that was just read.
func (r *entryReader) skipChildren(e *dwarf.Entry) error {
	if !e.Children {
		return nil
	}
	if sibling, ok := e.Val(dwarf.AttrSibling).(dwarf.Offset); ok && sibling > e.Offset {
		r.r.Seek(sibling)
		return nil
	}
	// That of debug/dwarf calls itself for each level: of damaged entries there can be millions.
	for open := 1; open > 0; {
		child, err := r.next()
		switch {
		case err != nil:
			return err
		case child == nil:
			return nil // the end of the unit
		case child.Tag == 0:
			open--
		case child.Children:
			open++
		}
	}
	return nil
}
