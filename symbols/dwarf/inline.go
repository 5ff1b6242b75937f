package dwarf

import (
	"debug/dwarf"
	"sort"
)

// inlineTree holds the functions inlined into one, outer ones before those inside them.
type inlineTree struct {
	calls  []inlinedCall
	ranges [][2]uint64
}

// inlinedCall is a call that the compiler replaced by the code of the function it calls.
type inlinedCall struct {
	parent      int // index of the call around it, or -1
	entry       dwarf.Offset
	first, last int // its code, ranges[first:last]
	file, line  int // of the call
}

// frames answers for an address in this unit, or nil if there is nothing there.
func (u *lineUnit) frames(pc uint64) ([]SourceFrame, error) {
	at, haveLine := u.row(pc)
	function, ok := u.function(pc)
	if !ok {
		if !haveLine {
			return nil, nil
		}
		return []SourceFrame{at}, nil // assembly
	}
	tree, err := u.tree(function)
	if err != nil {
		return nil, err
	}
	var frames []SourceFrame
	chain := tree.at(pc)
	for i := len(chain) - 1; i >= 0; i-- {
		call := &tree.calls[chain[i]]
		if at.Function, err = u.name(call.entry); err != nil {
			return nil, err
		}
		at.Inlined = true
		frames = append(frames, at)
		at = SourceFrame{File: u.fileName(call.file), Line: call.line}
	}
	if at.Function, err = u.name(function); err != nil {
		return nil, err
	}
	return append(frames, at), nil
}

// row finds the line of an address.
func (u *lineUnit) row(pc uint64) (SourceFrame, bool) {
	i := sort.Search(len(u.rows), func(i int) bool { return u.rows[i].addr > pc })
	if i == 0 || u.rows[i-1].end {
		return SourceFrame{}, false
	}
	row := &u.rows[i-1]
	f := SourceFrame{Line: row.line}
	if row.file != nil {
		f.File = row.file.Name
	}
	return f, true
}

func (u *lineUnit) fileName(number int) string {
	if number < 0 || number >= len(u.files) || u.files[number] == nil {
		return ""
	}
	return u.files[number].Name
}

// function finds the innermost function around an address: there may be functions in functions.
func (u *lineUnit) function(pc uint64) (dwarf.Offset, bool) {
	i := sort.Search(len(u.functions), func(i int) bool { return u.functions[i].low > pc })
	for i--; i >= 0; i-- {
		if f := &u.functions[i]; pc < f.high {
			return f.entry, true
		}
	}
	return 0, false
}

// tree reads what is inlined into a function.
func (u *lineUnit) tree(function dwarf.Offset) (*inlineTree, error) {
	if t, ok := u.trees[function]; ok {
		return t, nil
	}
	r := u.reader()
	e, err := r.at(function)
	if err != nil {
		return nil, err
	}
	t := &inlineTree{}
	if e.Children {
		if err := t.read(u.data, r); err != nil {
			return nil, err
		}
	}
	u.trees[function] = t
	return t, nil
}

// read reads the entries inside a function, up to the one that ends them.
func (t *inlineTree) read(data *dwarf.Data, r *entryReader) error {
	around := []int{-1} // for each open entry the innermost call it belongs to
	for len(around) > 0 {
		e, err := r.next()
		if err != nil {
			return err
		}
		if e == nil {
			return errBadUnit
		}
		call := around[len(around)-1]
		switch e.Tag {
		case 0:
			around = around[:len(around)-1]
			continue
		case dwarf.TagInlinedSubroutine:
			if err := t.add(data, e, call); err != nil {
				return err
			}
			call = len(t.calls) - 1
		case dwarf.TagLexDwarfBlock:
		default:
			if err := r.skipChildren(e); err != nil {
				return err
			}
			continue
		}
		if e.Children {
			around = append(around, call)
		}
	}
	return nil
}

func (t *inlineTree) add(data *dwarf.Data, e *dwarf.Entry, parent int) error {
	ranges, err := data.Ranges(e)
	if err != nil {
		return err
	}
	file, _ := e.Val(dwarf.AttrCallFile).(int64)
	line, _ := e.Val(dwarf.AttrCallLine).(int64)
	first := len(t.ranges)
	t.ranges = append(t.ranges, ranges...)
	t.calls = append(t.calls, inlinedCall{parent, e.Offset, first, len(t.ranges), int(file), int(line)})
	return nil
}

// at lists the calls around an address, the outer ones first.
func (t *inlineTree) at(pc uint64) (chain []int) {
	inner := -1
	for i := range t.calls {
		if c := &t.calls[i]; c.parent == inner && t.covers(c, pc) {
			chain = append(chain, i)
			inner = i
		}
	}
	return chain
}

func (t *inlineTree) covers(c *inlinedCall, pc uint64) bool {
	for _, r := range t.ranges[c.first:c.last] {
		if r[0] <= pc && pc < r[1] {
			return true
		}
	}
	return false
}

// name finds the name of a function or of an inlined call, which another entry may have.
func (u *lineUnit) name(entry dwarf.Offset) (string, error) {
	const farthest = 8 // entries from a call to its name; damaged ones may lead in a circle
	r := u.reader()
	for range farthest {
		e, err := r.at(entry)
		if err != nil {
			return "", err
		}
		if name, ok := e.Val(dwarf.AttrName).(string); ok {
			return name, nil
		}
		origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		if !ok {
			if origin, ok = e.Val(dwarf.AttrSpecification).(dwarf.Offset); !ok {
				return "", nil
			}
		}
		entry = origin
	}
	return "", nil
}
