package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"physgdb/internal/plain"
	"physgdb/mmu"
)

// usualHits is how many places a search shows where the user does not say.
const usualHits = 1000

func findCommand() Command {
	return Command{
		Name: "find", Args: "[/SIZE] [/MAX] START, +LENGTH|END, PATTERN...",
		Help: "search memory for text, numbers or the addresses of symbols, as gdb's find does, and as long as it takes",
		About: `The words are those of gdb's find. START and END, which is searched as well, are addresses (0x...) or symbols. PATTERN
is "text", in which \x00 stands for a byte (gdb's find adds one at its end, this one does not), a number, or &SYMBOL for
its address, or the addresses of all symbols of that name; several follow one another in memory.
SIZE is that of numbers: b, h, w, g for 1, 2, 4, 8 bytes; without, they have 4, or 8 if they need them. MAX is how many
places are shown at most, 1000 if it is not given. What is not mapped, or no RAM, is passed over.

Examples:
  physgdb find file:/tmp/ram _text, +0x2000000, '"Linux version"'
  physgdb find file:/tmp/ram /g 0xffff800000000000, 0xffffffffffffffff, '&init_task'`,
		Options: []Option{jsonOption("addr, symbol")},
		prepare: func(r *request) (Answer, error) {
			f, err := parseFind(strings.Join(r.args, " "))
			if err != nil {
				return nil, err
			}
			f.json = r.on("json")
			return f.answer, nil
		},
	}
}

// finding is what a user looks for, and where.
type finding struct {
	start, end string // END, or +LENGTH
	pattern    []expression
	most       int
	json       bool
}

// parseFind reads the words of find.
func parseFind(text string) (*finding, error) {
	words, err := splitExpressions(text)
	if err != nil {
		return nil, err
	}
	f := &finding{most: usualHits}
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
func (f *finding) parseFormat(format string, size int) (int, error) {
	letters := strings.TrimLeft(strings.TrimRight(format, "0123456789"), "0123456789")
	digits := strings.Trim(format, "bhwg")
	if digits != "" {
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil || n == 0 {
			return 0, fmt.Errorf("/%s: want a size b, h, w or g, or how many to show", format)
		}
		f.most = int(n)
	}
	switch {
	case letters == "" && digits != "":
		return size, nil
	case len(letters) != 1 || numberSizes[letters[0]] == 0:
		return 0, fmt.Errorf("/%s: want a size b, h, w or g, or how many to show", format)
	}
	return numberSizes[letters[0]], nil
}

// hitLine is a place that was found, as JSON shows it.
type hitLine struct {
	Addr   address `json:"addr"`
	Symbol string  `json:"symbol,omitempty"`
}

// answer searches the machine's space and shows each place as it is found.
func (f *finding) answer(ctx context.Context, m *Machine, w io.Writer) error {
	r, err := f.where(m)
	if err != nil {
		return err
	}
	patterns, err := f.patterns(m)
	if err != nil {
		return err
	}
	hits, unread := 0, 0
	var first, wrong error
	progress := newProgress(m.notes, "searching")
	look := newSearch(m.Memory, patterns, func(at uint64) bool {
		progress.end()
		wrong = f.show(ctx, m, w, at)
		hits++
		return wrong == nil && hits < f.most
	})
	look.tell = progress.reached
	look.unread = func(failed error) error {
		if unread++; unread == 1 {
			first = failed
		}
		return nil
	}
	for _, half := range halves(r) {
		if hits == f.most || wrong != nil {
			break
		}
		if err = look.run(ctx, m.spaceAt(half.First), half); err != nil {
			break
		}
	}
	progress.end()
	return errors.Join(wrong, err, f.conclude(w, hits, look.done), incomplete(unread, first))
}

// conclude counts what was found.
func (f *finding) conclude(w io.Writer, hits int, done uint64) error {
	if f.json {
		return nil
	}
	more := ""
	if hits == f.most {
		more = fmt.Sprintf("; there may be more: /%d shows as many", 10*f.most)
	}
	_, err := fmt.Fprintf(w, "found: %d, in %s%s\n", hits, sizeText(done), more)
	return err
}

// incomplete is the error of a search that could not read all there is, or nil.
func incomplete(places int, first error) error {
	if places == 0 {
		return nil
	}
	return fmt.Errorf("not all was searched: places that could not be read: %d, the first: %w", places, first)
}

// show writes a place.
func (f *finding) show(ctx context.Context, m *Machine, w io.Writer, at uint64) error {
	name := ""
	if place, err := m.Kernel.Symbolize(ctx, at); err == nil {
		name = place.String()
	}
	if f.json {
		return plain.WriteJSON(w, hitLine{address(at), name})
	}
	_, err := fmt.Fprintln(w, strings.TrimSpace(fmt.Sprintf("%#x %s", at, name)))
	return err
}

// where returns which addresses are to be searched.
func (f *finding) where(m *Machine) (mmu.Range, error) {
	start, err := m.address(f.start)
	if err != nil {
		return mmu.Range{}, &UsageError{err}
	}
	text, isLength := strings.CutPrefix(f.end, "+")
	if isLength {
		n, err := strconv.ParseUint(text, 0, 64)
		if err != nil || n == 0 {
			return mmu.Range{}, usagef("%s: want a length in bytes, such as +4096 or +0x1000", f.end)
		}
		if room := ^uint64(0) - start; n-1 > room {
			n = room + 1
		}
		return mmu.Range{First: start, Last: start + (n - 1)}, nil
	}
	last, err := m.address(f.end)
	if err != nil {
		return mmu.Range{}, &UsageError{err}
	}
	if last < start {
		return mmu.Range{}, usagef("find: %#x lies before %#x", last, start)
	}
	return mmu.Range{First: start, Last: last}, nil
}

// maxPatterns bounds how many patterns the names of several symbols may stand for.
const maxPatterns = 256

// patterns puts the pattern together. Where a name is that of several symbols there is a pattern for each.
func (f *finding) patterns(m *Machine) ([][]byte, error) {
	patterns := [][]byte{nil}
	for _, e := range f.pattern {
		values := [][]byte{e.bytes}
		if e.symbol != "" {
			addrs, err := m.addresses(e.symbol)
			if err != nil {
				return nil, &UsageError{err}
			}
			values = values[:0]
			for _, addr := range addrs {
				values = append(values, binary.LittleEndian.AppendUint64(nil, addr))
			}
		}
		if len(patterns)*len(values) > maxPatterns {
			return nil, usagef("find: &%s: there are %d symbols of this name", e.symbol, len(values))
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

// spaceAt returns what to read an address through. Kernel addresses are the same for all.
func (m *Machine) spaceAt(addr uint64) *mmu.Space {
	if int64(addr) < 0 && !m.chosen {
		return m.Kernel.Space
	}
	return m.Space
}
