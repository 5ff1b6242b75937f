// Package kallsyms finds the names that a kernel keeps in its read-only data: the table that
// scripts/kallsyms.c makes, and the tables of exported symbols.
package kallsyms

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"physgdb/symbols"
)

// Table is the table of names that a kernel has of itself in its read-only data (CONFIG_KALLSYMS),
// made by scripts/kallsyms.c.
type Table struct {
	// Symbols are the names with their addresses as they run, in the order of addresses. Sizes are
	// not known.
	Symbols []symbols.Symbol
	// Own are the parts of the table itself, which older kernels do not list: without them, the
	// symbol before them would seem to reach to the symbol after them.
	Own []symbols.Symbol
	// Lost is how many symbols are missing because a part of the table is damaged.
	Lost int
	// First and End are the virtual addresses of the table's first byte and of the first byte after
	// it. BaseAt is that of the address in it which the others are relative to
	// (kallsyms_relative_base), 8 bytes; 0 if there is none.
	First, End, BaseAt uint64
}

// ErrFormat is returned for a table whose layout is none of those that are known.
var ErrFormat = errors.New("unknown kallsyms format")

// Find looks for the table in a stretch of memory that begins at the virtual address base, and
// which must hold all of it. Bytes that are missing must be zero. text is the address of the
// kernel's _text, by which the form of the table is recognized: it changed several times.
func Find(base uint64, image []byte, text uint64) (*Table, error) {
	tokens, err := findTokens(image)
	if err != nil {
		return nil, fmt.Errorf("kallsyms: %w", err)
	}
	t := findNames(image, tokens)
	if t == nil {
		return nil, fmt.Errorf("%w: a token table at %#x, but no names before it", ErrFormat, base+uint64(tokens.start))
	}
	k := t.decode()
	table, addrs := t.findAddresses(base, k, text)
	if addrs == nil {
		return nil, fmt.Errorf("%w: %d names at %#x, but no table of their addresses", ErrFormat, t.count,
			base+uint64(t.start))
	}
	k.place(addrs)
	k.Own = []symbols.Symbol{{Name: table.name, Addr: base + uint64(table.at)}}
	for name, at := range map[string]int{
		"kallsyms_num_syms": t.countAt, "kallsyms_names": t.start, "kallsyms_markers": t.markers,
		"kallsyms_token_table": tokens.start, "kallsyms_token_index": tokens.end - indexSize,
	} {
		k.Own = append(k.Own, symbols.Symbol{Name: name, Addr: base + uint64(at)})
	}
	slices.SortFunc(k.Own, func(a, b symbols.Symbol) int { return cmp.Compare(a.Addr, b.Addr) })
	k.First = k.Own[0].Addr
	k.End = base + uint64(max(tokens.end, table.at+table.size*t.count))
	if table.baseAt != 0 {
		k.BaseAt = base + uint64(table.baseAt)
		k.First, k.End = min(k.First, k.BaseAt), max(k.End, k.BaseAt+baseSize)
	}
	return k, nil
}

// tokenTable has the text for each byte of a compressed name.
type tokenTable struct {
	start, end int // of the table and the index after it, in the image
	text       [tokenCount][]byte
}

const (
	tokenCount = 256
	indexSize  = 2 * tokenCount // bytes
)

// labelAligns are the alignments of the parts of the table (output_label() in scripts/kallsyms.c):
// 8 up to 6.19, and 4 since 7.0, where each part begins at a multiple of 8 or not as the sizes of
// those before it have it.
var labelAligns = [...]int{4, 8}

// maxTokenTries bounds how many places that may be a token table are looked at. Few kernels have
// more than one.
const maxTokenTries = 4096

// findTokens finds the tokens by those of the digits, which are literal: every kernel has names
// with digits. The index after the table confirms it.
func findTokens(image []byte) (*tokenTable, error) {
	const digits = "0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00"
	for from, tries := 0, 0; ; tries++ {
		i := bytes.Index(image[from:], []byte(digits))
		if i < 0 || tries == maxTokenTries {
			return nil, errors.New("no token table was found (the kernel has no CONFIG_KALLSYMS, or memory is damaged)")
		}
		if t := tokensAround(image, from+i); t != nil {
			return t, nil
		}
		from += i + 1
	}
}

// tokensAround returns the table whose token '0' is at zero, or nil.
func tokensAround(image []byte, zero int) *tokenTable {
	var at [tokenCount + 1]int // where the tokens from '0' on begin
	at['0'] = zero
	for i := '0'; i < tokenCount; i++ {
		n := bytes.IndexByte(image[at[i]:min(len(image), at[i]+mostToken)], 0)
		if n < 0 {
			return nil
		}
		at[i+1] = at[i] + n + 1
	}
	for _, align := range labelAligns {
		if t := tokensIndexed(image, &at, alignUp(at[tokenCount], align)); t != nil {
			return t
		}
	}
	return nil
}

// tokensIndexed returns the table whose index is at an offset, or nil if what is there is not its
// index. at are the tokens from '0' on.
func tokensIndexed(image []byte, at *[tokenCount + 1]int, index int) *tokenTable {
	if index+indexSize > len(image) {
		return nil
	}
	offset := func(i int) int { return int(binary.LittleEndian.Uint16(image[index+2*i:])) }
	zero := at['0']
	t := &tokenTable{start: zero - offset('0'), end: index + indexSize}
	if t.start < 0 || offset(0) != 0 {
		return nil
	}
	for i := range tokenCount {
		start := t.start + offset(i)
		if i >= '0' && start != at[i] || start > zero && i < '0' {
			return nil
		}
		n := bytes.IndexByte(image[start:min(len(image), start+mostToken)], 0)
		if n < 0 {
			return nil
		}
		t.text[i] = image[start : start+n]
	}
	return t
}

// mostToken and mostName bound what a token and a name may have, in bytes; kernels allow names of
// 512 (KSYM_NAME_LEN).
const mostToken, mostName = 512, 1024

func alignUp(n, to int) int { return (n + to - 1) / to * to }

// nameTable is the compressed names.
type nameTable struct {
	image   []byte
	tokens  *tokenTable
	count   int
	countAt int // of the number of names, in the image
	start   int // of the first name
	markers int // of the offsets of every 256th name from start: 32 bits each
}

const (
	namesPerMarker = 256
	minBlock       = 2 * namesPerMarker // bytes: a length and a token for each name
	leastSymbols   = 1024
	mostSymbols    = 1 << 20
	mostNames      = 64 << 20 // bytes of all names together; kernels have some 5 MB
	checkedMarkers = 3
	// maxNameTries bounds how many places are decoded to see whether names begin there. Few are,
	// unless on purpose.
	maxNameTries = 4096
)

// findNames returns the names before the tokens, or nil if there are none. They follow their
// number, which is a u32, and every 256th of them is marked: that the first few marks are where
// they must be proves it.
func findNames(image []byte, tokens *tokenTable) *nameTable {
	const step = 4 // the smallest alignment of names
	tries := 0
	for at := tokens.start / step * step; at >= step && tries < maxNameTries; at -= step {
		t := &nameTable{image: image, tokens: tokens, start: at}
		if !t.findCount() {
			continue
		}
		for _, t.markers = range t.markerPlaces() {
			if t.marker(0) != 0 || t.marker(1) < minBlock {
				continue
			}
			if tries++; t.marked() {
				return t
			}
		}
	}
	return nil
}

// findCount reads the number of names from before the first of them, and reports whether it is a
// likely one. Where names are 8-aligned four bytes of padding may lie between.
func (t *nameTable) findCount() bool {
	for _, size := range labelAligns {
		if t.countAt = t.start - size; t.countAt < 0 {
			return false
		}
		before := t.image[t.countAt:t.start]
		t.count = int(binary.LittleEndian.Uint32(before))
		if t.count >= leastSymbols && t.count <= mostSymbols && isZero(before[4:]) {
			return true
		}
	}
	return false
}

func isZero(p []byte) bool { return len(bytes.Trim(p, "\x00")) == 0 }

// markerPlaces returns where the markers can be: right before the tokens, or before
// kallsyms_seqs_of_names, which has three bytes for each name and came before the tokens in 6.2 and
// 6.3. Up to two paddings lie between.
func (t *nameTable) markerPlaces() (places []int) {
	for _, end := range []int{t.tokens.start, (t.tokens.start - 3*t.count) &^ 3} {
		for padding := 0; padding <= 8; padding += 4 {
			if at := end - padding - 4*t.blocks(); at > t.start {
				places = append(places, at)
			}
		}
	}
	return places
}

// marker returns the offset of a block of names from the first name.
func (t *nameTable) marker(block int) int {
	return int(binary.LittleEndian.Uint32(t.image[t.markers+4*block:]))
}

// marked decodes the first blocks of names, and reports whether the markers are where each begins.
func (t *nameTable) marked() bool {
	at := t.start
	for i := range checkedMarkers * namesPerMarker {
		if i%namesPerMarker == 0 && t.marker(i/namesPerMarker) != at-t.start {
			return false
		}
		var ok bool
		if _, at, ok = t.nameAt(at); !ok || at > t.markers {
			return false
		}
	}
	return t.marker(checkedMarkers) == at-t.start
}

// blocks is how many markers there are.
func (t *nameTable) blocks() int { return (t.count + namesPerMarker - 1) / namesPerMarker }

// nameAt returns the tokens of the name at an offset, and where the next begins.
func (t *nameTable) nameAt(at int) (name []byte, next int, ok bool) {
	if at >= t.tokens.start {
		return nil, 0, false
	}
	n := int(t.image[at])
	at++
	if n&0x80 != 0 { // two bytes since 6.1
		n = n&0x7f | int(t.image[at])<<7
		at++
	}
	if n == 0 || n > mostName || at+n > t.tokens.start {
		return nil, 0, false
	}
	name = t.image[at : at+n]
	first := t.tokens.text[name[0]]
	return name, at + n, len(first) > 0 && isSymbolType(first[0])
}

// isSymbolType reports whether c is one of the letters by which nm classifies symbols.
func isSymbolType(c byte) bool {
	return bytes.IndexByte([]byte("aAbBcCdDgGiInNpPrRsStTuUvVwW-?"), c) >= 0
}

// decode expands the names. Those of a damaged block stay empty.
func (t *nameTable) decode() *Table {
	k := &Table{Symbols: make([]symbols.Symbol, t.count)}
	ends := make([]int, 0, t.count) // of the names in text
	var text []byte
	for block := range t.blocks() {
		at := t.start + t.marker(block)
		for i := block * namesPerMarker; i < min(t.count, (block+1)*namesPerMarker); i++ {
			from := len(text)
			name, next, ok := t.nameAt(at)
			if ok {
				text = t.expand(text, name)
				at = next
			} else {
				at = t.tokens.start // the rest of the block is unknown
			}
			if len(text)-from > mostName || len(text) > mostNames || !symbols.Printable(text[from:]) {
				text = text[:from]
			}
			if len(text) > from {
				setType(&k.Symbols[i], text[from])
			}
			ends = append(ends, len(text))
		}
	}
	all := string(text)
	from := 0
	for i, end := range ends {
		if from < end {
			k.Symbols[i].Name = all[from+1 : end]
		}
		from = end
	}
	return k
}

// expand appends the text of the tokens of a name, up to a little more than a name can have.
func (t *nameTable) expand(to, name []byte) []byte {
	from := len(to)
	for _, c := range name {
		if len(to)-from > mostName {
			break
		}
		to = append(to, t.tokens.text[c]...)
	}
	return to
}

// setType sets the type from a letter of nm.
func setType(s *symbols.Symbol, c byte) {
	s.Weak = c == 'w' || c == 'W'
	s.Local = c >= 'a' && c <= 'z' && c != 'w' && c != 'v'
	s.Func = bytes.IndexByte([]byte("tTwW"), c) >= 0
}

// place gives the symbols their addresses, and drops those without a name or with an address that
// is out of order.
func (k *Table) place(addrs []uint64) {
	kept := k.Symbols[:0]
	last := uint64(0)
	for i, s := range k.Symbols {
		s.Addr = addrs[i]
		strays := i+1 < len(addrs) && s.Addr > addrs[i+1] && addrs[i+1] >= last
		if s.Addr < last || strays {
			k.Lost++
			continue
		}
		last = s.Addr
		if s.Name == "" {
			k.Lost++
			continue
		}
		kept = append(kept, s)
	}
	k.Symbols = kept
}

// All returns the Symbols and those of Own that are not among them: newer kernels list the parts of
// the table, too.
func (k *Table) All() []symbols.Symbol {
	all := slices.Clone(k.Symbols)
	for _, own := range k.Own {
		if !slices.ContainsFunc(k.at(own.Addr), func(s symbols.Symbol) bool { return s.Name == own.Name }) {
			all = append(all, own)
		}
	}
	return all
}

// at returns the Symbols at an address.
func (k *Table) at(addr uint64) []symbols.Symbol {
	first, _ := slices.BinarySearchFunc(k.Symbols, addr, func(s symbols.Symbol, addr uint64) int { return cmp.Compare(s.Addr, addr) })
	end := first
	for end < len(k.Symbols) && k.Symbols[end].Addr == addr {
		end++
	}
	return k.Symbols[first:end]
}
