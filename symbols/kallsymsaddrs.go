package symbols

import (
	"encoding/binary"
	"errors"
)

// addressForm is a way in which kernels keep the addresses of their symbols.
type addressForm struct {
	name string // of the table
	read addressReader
}

// addressReader returns the addresses, and where their table is in the image; nil where it would not lie in the image.
type addressReader func(t *nameTable, base uint64) (addrs []uint64, at int)

// addressForms are all of them, the usual first.
var addressForms = []addressForm{
	// Up to 6.14 per-CPU symbols are small numbers and told as they are; all others, as negative numbers, from the base.
	{"kallsyms_offsets", offsetsBehind(perCPUAbsolute)}, {"kallsyms_offsets", offsetsBefore(perCPUAbsolute)},
	// From 6.15 on, and on machines with one CPU, every symbol is told from the base.
	{"kallsyms_offsets", offsetsBehind(fromBase)}, {"kallsyms_offsets", offsetsBefore(fromBase)},
	{"kallsyms_offsets", placeRelative},
	{"kallsyms_addresses", absolute},
}

// perCPUAbsolute is CONFIG_KALLSYMS_ABSOLUTE_PERCPU (kallsyms_sym_address(), kernel/kallsyms.c).
func perCPUAbsolute(base uint64, offset int32) uint64 {
	if offset >= 0 {
		return uint64(offset)
	}
	return base - 1 - uint64(int64(offset))
}

func fromBase(base uint64, offset int32) uint64 { return base + uint64(uint32(offset)) }

// offsetsBehind is the order since 6.4: tokens, their index, offsets, base.
func offsetsBehind(addr func(base uint64, offset int32) uint64) addressReader {
	return func(t *nameTable, _ uint64) ([]uint64, int) {
		offsets := alignUp(t.tokens.end, labelAlign)
		return t.offsets(offsets, offsets+alignUp(4*t.count, labelAlign), addr)
	}
}

// offsetsBefore is the order up to 6.3: offsets, base, number of symbols, names.
func offsetsBefore(addr func(base uint64, offset int32) uint64) addressReader {
	return func(t *nameTable, _ uint64) ([]uint64, int) {
		relativeBase := t.start - 2*labelAlign
		return t.offsets(relativeBase-alignUp(4*t.count, labelAlign), relativeBase, addr)
	}
}

func (t *nameTable) offsets(at, relativeBase int, addr func(base uint64, offset int32) uint64) ([]uint64, int) {
	if !t.holds(at, 4*t.count) || !t.holds(relativeBase, 8) {
		return nil, 0
	}
	base := binary.LittleEndian.Uint64(t.image[relativeBase:])
	addrs := make([]uint64, t.count)
	for i := range addrs {
		addrs[i] = addr(base, int32(binary.LittleEndian.Uint32(t.image[at+4*i:])))
	}
	return addrs, at
}

// placeRelative is the form since 7.0: each symbol is told from where its number stands.
func placeRelative(t *nameTable, base uint64) ([]uint64, int) {
	at := alignUp(t.tokens.end, labelAlign)
	if !t.holds(at, 4*t.count) {
		return nil, 0
	}
	addrs := make([]uint64, t.count)
	for i := range addrs {
		slot := at + 4*i
		addrs[i] = base + uint64(slot) + uint64(int64(int32(binary.LittleEndian.Uint32(t.image[slot:]))))
	}
	return addrs, at
}

// absolute is the form without CONFIG_KALLSYMS_BASE_RELATIVE, up to 6.10: whole addresses, before the number of symbols.
func absolute(t *nameTable, _ uint64) ([]uint64, int) {
	at := t.start - labelAlign - 8*t.count
	if !t.holds(at, 8*t.count) {
		return nil, 0
	}
	addrs := make([]uint64, t.count)
	for i := range addrs {
		addrs[i] = binary.LittleEndian.Uint64(t.image[at+8*i:])
	}
	return addrs, at
}

func (t *nameTable) holds(at, size int) bool { return at >= 0 && at+size <= len(t.image) }

// findAddresses finds the form by which _text is where it must be, and nearly all addresses rise, as they do unless they are
// damaged.
func (t *nameTable) findAddresses(base uint64, k *Kallsyms, text uint64) (addrs []uint64, table Symbol, err error) {
	for _, form := range addressForms {
		addrs, at := form.read(t, base)
		if addrs == nil || !mostlyRising(addrs) {
			continue
		}
		for i, s := range k.Symbols {
			if addrs[i] == text && (s.Name == "_text" || s.Name == "_stext") {
				return addrs, Symbol{Name: form.name, Addr: base + uint64(at)}, nil
			}
		}
	}
	return nil, Symbol{}, errors.New("names, but no addresses of symbols were found: memory is damaged, or their form is a new one")
}

func mostlyRising(addrs []uint64) bool {
	falls := 0
	for i := range addrs[1:] {
		if addrs[i+1] < addrs[i] {
			falls++
		}
	}
	return falls <= len(addrs)/16
}
