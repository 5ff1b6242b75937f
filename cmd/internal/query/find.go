package query

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"physgdb/cmd/internal/machine"
	"physgdb/cmd/internal/progress"
	"physgdb/mmu"
)

// defaultHits is how many places a search returns if the user gives no number.
const defaultHits = 1000

// Find is a search for a pattern in virtual memory.
type Find struct {
	Max int // how many places are returned

	start, end string // END, or +LENGTH
	pattern    []expression
}

// ParseFind reads the words of the command find, which are those of gdb's find.
func ParseFind(text string) (*Find, error) {
	words, err := splitExpressions(text)
	if err != nil {
		return nil, err
	}
	f := &Find{Max: defaultHits}
	size := 0
	for len(words) > 0 && words[0][0] == '/' {
		if size, err = f.parseFormat(words[0][1:], size); err != nil {
			return nil, err
		}
		words = words[1:]
	}
	if len(words) < 3 {
		return nil, errors.New(`want START, +LENGTH or END, and PATTERN, such as: _text, +0x2000000, "Linux version"`)
	}
	f.start, f.end = words[0], words[1]
	for _, w := range words[2:] {
		e, err := parseExpression(w, size)
		if err != nil {
			return nil, err
		}
		f.pattern = append(f.pattern, e)
	}
	return f, nil
}

// parseFormat reads what follows a slash: a size, how many to show, or both.
func (f *Find) parseFormat(format string, size int) (int, error) {
	letters := strings.TrimLeft(strings.TrimRight(format, "0123456789"), "0123456789")
	digits := strings.Trim(format, "bhwg")
	if digits != "" {
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil || n == 0 {
			return 0, fmt.Errorf("/%s: want a size b, h, w or g, or a maximum number of matches", format)
		}
		f.Max = int(n)
	}
	switch {
	case letters == "" && digits != "":
		return size, nil
	case len(letters) != 1 || numberSizes[letters[0]] == 0:
		return 0, fmt.Errorf("/%s: want a size b, h, w or g, or a maximum number of matches", format)
	}
	return numberSizes[letters[0]], nil
}

// Hit is a place that a search found.
type Hit struct {
	Addr   Address `json:"addr"`
	Symbol string  `json:"symbol,omitempty"` // with the offset in it
}

// Scope is the address space in which a user looks at a machine.
type Scope struct {
	Space *mmu.Space
	// Chosen is set if the user selected Space: then kernel addresses are read through it, too, and
	// not through the kernel's space.
	Chosen bool
}

// MachineScope returns the scope that the options of a machine select.
func MachineScope(m *machine.Machine) Scope { return Scope{m.Space, m.SpaceChosen} }

func (s Scope) spaceAt(m *machine.Machine, addr uint64) *mmu.Space {
	if int64(addr) < 0 && !s.Chosen {
		return m.Kernel.Space
	}
	return s.Space
}

// FindResult describes a search that has ended.
type FindResult struct {
	Hits     int
	Searched uint64 // bytes
}

// Run searches memory and calls each for every place that is found; an error of each ends the
// search. Progress is shown on notes. The result counts what was done before an error. Memory that
// is not mapped, or no RAM, is skipped.
func (f *Find) Run(ctx context.Context, m *machine.Machine, scope Scope, notes io.Writer, each func(*Hit) error) (*FindResult, error) {
	r, err := f.where(m)
	if err != nil {
		return nil, err
	}
	patterns, err := f.patterns(m)
	if err != nil {
		return nil, err
	}
	result := &FindResult{}
	unread := 0
	var first, stopped error
	shown := progress.New(notes, "searching")
	search := NewSearch(m.Memory, patterns, func(at uint64) bool {
		shown.End()
		stopped = each(newHit(ctx, m, at))
		result.Hits++
		return stopped == nil && result.Hits < f.Max
	})
	search.progress = shown.Reached
	search.unread = func(err error) error {
		if unread++; unread == 1 {
			first = err
		}
		return nil
	}
	for _, half := range Halves(r) {
		if result.Hits == f.Max || stopped != nil {
			break
		}
		if err = search.Run(ctx, scope.spaceAt(m, half.First), half); err != nil {
			break
		}
	}
	shown.End()
	result.Searched = search.Done
	return result, errors.Join(stopped, err, incompleteSearch(unread, first))
}

func newHit(ctx context.Context, m *machine.Machine, at uint64) *Hit {
	h := &Hit{Addr: Address(at)}
	if place, err := m.Kernel.Symbolize(ctx, at); err == nil {
		h.Symbol = place.String()
	}
	return h
}

// incompleteSearch returns the error of a search that could not read everything, or nil.
func incompleteSearch(places int, first error) error {
	if places == 0 {
		return nil
	}
	return fmt.Errorf("the search is incomplete: places that could not be read: %d, the first: %w", places, first)
}

// where returns which addresses are to be searched.
func (f *Find) where(m *machine.Machine) (mmu.Range, error) {
	start, err := address(m, f.start)
	if err != nil {
		return mmu.Range{}, &machine.UsageError{Err: err}
	}
	text, isLength := strings.CutPrefix(f.end, "+")
	if isLength {
		n, err := strconv.ParseUint(text, 0, 64)
		if err != nil || n == 0 {
			return mmu.Range{}, machine.Usagef("%s: want a length in bytes, such as +4096 or +0x1000", f.end)
		}
		if room := ^uint64(0) - start; n-1 > room {
			n = room + 1
		}
		return mmu.Range{First: start, Last: start + (n - 1)}, nil
	}
	last, err := address(m, f.end)
	if err != nil {
		return mmu.Range{}, &machine.UsageError{Err: err}
	}
	if last < start {
		return mmu.Range{}, machine.Usagef("find: the end %#x is before the start %#x", last, start)
	}
	return mmu.Range{First: start, Last: last}, nil
}

// maxPatterns bounds the number of patterns that the names of several symbols expand to.
const maxPatterns = 256

// patterns puts the pattern together. Where a name is that of several symbols there is a pattern
// for each.
func (f *Find) patterns(m *machine.Machine) ([][]byte, error) {
	patterns := [][]byte{nil}
	for _, e := range f.pattern {
		values := [][]byte{e.bytes}
		if e.symbol != "" {
			addrs, err := addresses(m, e.symbol)
			if err != nil {
				return nil, &machine.UsageError{Err: err}
			}
			values = values[:0]
			for _, addr := range addrs {
				values = append(values, binary.LittleEndian.AppendUint64(nil, addr))
			}
		}
		if len(patterns)*len(values) > maxPatterns {
			return nil, machine.Usagef("find: &%s: there are %d symbols of this name", e.symbol, len(values))
		}
		var longer [][]byte
		for _, p := range patterns {
			for _, v := range values {
				longer = append(longer, slices.Concat(p, v))
			}
		}
		patterns = longer
	}
	return patterns, nil
}
