package kallsyms

import "encoding/binary"

// addressTable is a table of the symbols' addresses in one of the forms that kernels have, at a
// place where it may be.
type addressTable struct {
	name string
	at   int // in the image
	size int // of an entry, in bytes
	// baseAt is where in the image the address is that the entries are relative to; 0 if there is
	// none.
	baseAt int
	// addr returns the address of an entry. slot is the entry's own address.
	addr func(entry, slot uint64) uint64
}

// baseSize is the size of kallsyms_relative_base, in bytes.
const baseSize = 8

// addressTables returns all places and forms that are possible after and before the names, those of
// the oldest kernels first.
//
// Up to 6.3 the order is offsets, base, number of symbols, names; since 6.4 it is tokens, their
// index, offsets, base. Since 7.0 there is no base. Kernels without CONFIG_KALLSYMS_BASE_RELATIVE,
// up to 6.10, have whole addresses before the number of symbols (scripts/kallsyms.c).
func (t *nameTable) addressTables() []addressTable {
	const size = 4
	var tables []addressTable
	for _, align := range labelAligns {
		following := alignUp(t.tokens.end, align)
		for _, baseAlign := range labelAligns {
			tables = append(tables, t.fromBase(following, alignUp(following+size*t.count, baseAlign))...)
		}
		tables = append(tables, addressTable{"kallsyms_offsets", following, size, 0, func(entry, slot uint64) uint64 {
			return slot + uint64(int64(int32(entry)))
		}})
	}
	for padding := 0; padding <= 4; padding += 4 {
		base := t.countAt - padding - baseSize
		tables = append(tables, t.fromBase(base-size*t.count, base)...)
		tables = append(tables, t.fromBase(base-size*t.count-4, base)...)
	}
	return append(tables, addressTable{"kallsyms_addresses", t.countAt - 8*t.count, 8, 0, func(entry, _ uint64) uint64 {
		return entry
	}})
}

// fromBase returns the two forms of offsets from a base (kallsyms_sym_address(),
// kernel/kallsyms.c): with CONFIG_KALLSYMS_ABSOLUTE_PERCPU, as up to 6.14 on machines with several
// CPUs, per-CPU symbols are small numbers and kept as they are, and all others are negative; else
// every offset is unsigned. The bytes between offsets and base are padding: they are zero, which
// the last offset is not.
func (t *nameTable) fromBase(at, baseAt int) []addressTable {
	end := at + 4*t.count
	if at < 0 || baseAt+baseSize > len(t.image) || !isZero(t.image[end:baseAt]) {
		return nil
	}
	base := binary.LittleEndian.Uint64(t.image[baseAt:])
	return []addressTable{
		{"kallsyms_offsets", at, 4, baseAt, func(entry, _ uint64) uint64 {
			if offset := int32(entry); offset < 0 {
				return base - 1 - uint64(int64(offset))
			}
			return entry
		}},
		{"kallsyms_offsets", at, 4, baseAt, func(entry, _ uint64) uint64 { return base + entry }},
	}
}

// read returns the addresses by a table, or nil if the table does not fit in the image, which is at
// the address base.
func (a *addressTable) read(t *nameTable, base uint64) []uint64 {
	if a.at < 0 || a.at+a.size*t.count > len(t.image) {
		return nil
	}
	addrs := make([]uint64, t.count)
	for i := range addrs {
		at := a.at + a.size*i
		entry := uint64(binary.LittleEndian.Uint32(t.image[at:]))
		if a.size == 8 {
			entry = binary.LittleEndian.Uint64(t.image[at:])
		}
		addrs[i] = a.addr(entry, base+uint64(at))
	}
	return addrs
}

// findAddresses returns the table by which _text has its address, and the fewest addresses fall, as
// only damaged ones do; nil if there is none.
func (t *nameTable) findAddresses(base uint64, k *Table, text uint64) (table addressTable, addrs []uint64) {
	fewest := t.count/16 + 1
	for _, a := range t.addressTables() {
		got := a.read(t, base)
		if got == nil || !k.hasText(got, text) {
			continue
		}
		if n := falls(got); n < fewest {
			table, addrs, fewest = a, got, n
		}
	}
	return table, addrs
}

// hasText reports whether the symbol _text, or _stext, has an address.
func (k *Table) hasText(addrs []uint64, text uint64) bool {
	for i, s := range k.Symbols {
		if addrs[i] == text && (s.Name == "_text" || s.Name == "_stext") {
			return true
		}
	}
	return false
}

// falls returns how many addresses are lower than the one before.
func falls(addrs []uint64) (n int) {
	for i := range addrs[1:] {
		if addrs[i+1] < addrs[i] {
			n++
		}
	}
	return n
}
