// Package orc reads the tables by which a kernel unwinds its stacks, made by objtool for
// CONFIG_UNWINDER_ORC.
package orc

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sort"

	"physgdb/symbols"
)

// Table is a kernel's or a module's table of stack frames, made by objtool for CONFIG_UNWINDER_ORC.
// It covers C and assembly alike, entry code included. It searches the bytes as they are, and is
// immutable and safe for concurrent use.
//
// The format is that of arch/x86/include/asm/orc_types.h, the meaning that of
// arch/x86/kernel/unwind_orc.c.
type Table struct {
	base    uint64 // address of ips[0]
	ips     []byte // s32 each: an address relative to that of the word itself, rising
	entries []byte // struct orc_entry for each of ips
	format  Format
}

const (
	orcIPSize    = 4
	orcEntrySize = 6 // s16 sp_offset, s16 bp_offset, 16 bits of flags
)

// New makes a table of the bytes between __start_orc_unwind_ip (whose address is base) and
// __stop_orc_unwind_ip, and those between __start_orc_unwind and __stop_orc_unwind; or of what a
// module's arch.orc_unwind_ip and arch.orc_unwind point at, arch.num_orcs entries. It keeps both.
// Tables that are not in order (as in a vmlinux before 5.6, which the kernel sorted when it booted)
// are sorted.
func New(base uint64, ips, entries []byte, format Format) (*Table, error) {
	n := len(ips) / orcIPSize
	if len(ips)%orcIPSize != 0 || len(entries) != n*orcEntrySize {
		return nil, fmt.Errorf("ORC table: %d bytes of addresses do not fit %d bytes of entries", len(ips), len(entries))
	}
	if n == 0 {
		return nil, errors.New("ORC table: empty")
	}
	if int(format) >= len(orcLayouts) {
		return nil, fmt.Errorf("ORC table: format %d is unknown", format)
	}
	o := &Table{base, ips, entries, format}
	if !o.sorted() {
		return o.sort()
	}
	return o, nil
}

// Sections are the parts of a table, as memory or an ELF file has them.
type Sections struct {
	IPs, Entries symbols.Blob
	Header       symbols.Blob // of kernels from 6.4 on; else empty
	Format       Format
}

// FindFormat sets the format of the sections by their content; see [FormatOf].
func (s *Sections) FindFormat() (err error) {
	s.Format, err = FormatOf(s.Header.Data, s.Entries.Data)
	return err
}

// Table returns the table that the sections hold. It keeps them.
func (s *Sections) Table() (*Table, error) {
	return New(s.IPs.Addr, s.IPs.Data, s.Entries.Data, s.Format)
}

// At implements Unwinder. Link or run-time addresses, whichever base is.
func (o *Table) At(pc uint64) (symbols.FrameRule, bool) {
	n := o.len()
	// Of several entries for an address the last one counts: the others end the section before it.
	i := sort.Search(n, func(i int) bool { return o.ip(i) > pc })
	if i == 0 || i == n {
		return symbols.FrameRule{}, false // the last entry only ends the last section
	}
	return orcLayouts[o.format].rule(o.entry(i - 1))
}

// Rules goes through the table in the order of its addresses: from which one on a rule counts, up
// to the next. Where [Table.At] knows nothing the rule is that of [NoFrame].
func (o *Table) Rules() iter.Seq2[uint64, symbols.FrameRule] {
	layout := &orcLayouts[o.format]
	return func(yield func(uint64, symbols.FrameRule) bool) {
		last := o.len() - 1
		for i := range last {
			ip := o.ip(i)
			if ip == o.ip(i+1) {
				continue
			}
			if rule, _ := layout.rule(o.entry(i)); !yield(ip, rule) {
				return
			}
		}
		yield(o.ip(last), symbols.FrameRule{})
	}
}

// Format returns the format of the table: that of a kernel is that of its modules.
func (o *Table) Format() Format { return o.format }

func (o *Table) len() int { return len(o.ips) / orcIPSize }

// ip is the address from which on entry i counts.
func (o *Table) ip(i int) uint64 {
	at := i * orcIPSize
	return o.base + uint64(at) + uint64(int64(int32(binary.LittleEndian.Uint32(o.ips[at:]))))
}

func (o *Table) entry(i int) []byte { return o.entries[i*orcEntrySize:][:orcEntrySize] }

func (o *Table) sorted() bool {
	before := o.ip(0)
	for i := range o.len() {
		ip := o.ip(i)
		if ip < before {
			return false
		}
		before = ip
	}
	return true
}

// sort returns the table in order, as unwind_init() in kernels before 5.6: at equal addresses
// entries without a frame, which only end a section, come first.
func (o *Table) sort() (*Table, error) {
	n := o.len()
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool {
		if x, y := o.ip(order[a]), o.ip(order[b]); x != y {
			return x < y
		}
		x, _ := orcLayouts[o.format].rule(o.entry(order[a]))
		y, _ := orcLayouts[o.format].rule(o.entry(order[b]))
		return x.Kind == symbols.NoFrame && y.Kind != symbols.NoFrame
	})
	s := &Table{o.base, make([]byte, 0, len(o.ips)), make([]byte, 0, len(o.entries)), o.format}
	for i, from := range order {
		rel := int64(o.ip(from) - o.base - uint64(i*orcIPSize))
		if rel != int64(int32(rel)) {
			return nil, fmt.Errorf("ORC table: address %#x is too far from the table", o.ip(from))
		}
		s.ips = binary.LittleEndian.AppendUint32(s.ips, uint32(rel))
		s.entries = append(s.entries, o.entry(from)...)
	}
	return s, nil
}

// Read reads the ORC table of a vmlinux: link addresses. It reads nothing else of the file.
func Read(f *elf.File) (*Table, error) {
	ips, entries := f.Section(".orc_unwind_ip"), f.Section(".orc_unwind")
	if ips == nil || entries == nil {
		return nil, errors.New("has no ORC table (built without CONFIG_UNWINDER_ORC?)")
	}
	var parts [3][]byte
	for i, s := range []*elf.Section{ips, entries, f.Section(".orc_header")} {
		if s == nil {
			continue // kernels before 6.4 have no header
		}
		var err error
		if parts[i], err = s.Data(); err != nil {
			return nil, fmt.Errorf("section %s: %w", s.Name, err)
		}
	}
	format, err := FormatOf(parts[2], parts[1])
	if err != nil {
		return nil, err
	}
	return New(ips.Addr, parts[0], parts[1], format)
}

// Format is a layout of struct orc_entry, named after the first Linux that had it.
type Format uint8

const (
	Linux4_14 Format = iota // 4.14 to 6.2
	Linux6_3                // 6.3: a bit for signal frames
	Linux6_4                // 6.4 to 7.0: undefined and end of stack are types
	Linux7_1                // 7.1: registers in another order
)

// orcHashes are the first bytes of what .orc_header holds: a SHA-1 over the definitions in
// orc_types.h (scripts/orc_hash.sh). Kernels from 6.3.10 on have it.
var orcHashes = map[string]Format{
	"\xdb\x84\xae\xd4\x10\x3b\x31\xdd\x51\xe0\x17\xf8\xf7\x97\x83\xca\x98\x5c\x2c\x51": Linux6_3,
	"\xfe\x5d\x32\xbf\x58\x1b\xd6\x3b\x2c\xa9\xa5\xc6\x5b\xa5\xa6\x25\xea\xb3\xfe\x24": Linux6_4,
	"\x13\x7c\x36\xad\x76\x27\xc4\xdd\x55\x93\x21\x76\xbb\x0e\xcd\xbd\x50\x41\xfc\x82": Linux7_1,
}

// FormatOf returns the format of a table. header is what .orc_header or the variable orc_header
// holds, or empty. If it does not say (older kernels have none, and neither have some that
// distributions patched), the entries do: nearly all of them describe calls, with the CFA relative
// to RSP or RBP. The version of the kernel would say less.
func FormatOf(header, entries []byte) (Format, error) {
	if format, ok := orcHashes[string(header)]; ok {
		return format, nil
	}
	var counts [1 << 12]int // of entries by their flags, whose upper 4 bits no format uses
	for ; len(entries) >= orcEntrySize; entries = entries[orcEntrySize:] {
		counts[binary.LittleEndian.Uint16(entries[4:])%uint16(len(counts))]++
	}
	var fits [len(orcLayouts)]int
	var total int
	var bits uint16
	for flags, n := range counts {
		if n == 0 {
			continue
		}
		bits |= uint16(flags)
		if flags&0xff == 0 {
			continue // neither RSP nor RBP can be found: ends of sections and of stacks
		}
		total += n
		for i := range orcLayouts {
			if orcLayouts[i].usual(uint16(flags)) {
				fits[i] += n
			}
		}
	}
	best := Linux4_14
	for i := range fits {
		if fits[i] > fits[best] {
			best = Format(i)
		}
	}
	if total == 0 || fits[best] < total-total/4 {
		return 0, fmt.Errorf("ORC table: unknown format (header %x)", bytes.Clone(header[:min(len(header), 20)]))
	}
	if best == Linux4_14 && bits&orcEnd6_3 != 0 {
		return Linux6_3, nil
	}
	return best, nil
}
