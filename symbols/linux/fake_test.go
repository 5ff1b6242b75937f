package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/test/memimage"
)

var ctx = context.Background()

// base is where a [world] has all its memory, page after page: as a kernel's direct map.
const base = 0xffff888000000000

// world is a kernel in a small memory that a test fills as it likes.
type world struct {
	*memimage.Image
	*Kernel
	fake  *bridgetest.Fake
	types fakeTypes
	next  uint64          // address given out next
	text  bridge.PhysAddr // of the page at textPage
}

// textPage is where a [world] has its only page of code.
const textPage = 0xffffffff81000000

// fakeTypes are the members of structs as "type.path", and the sizes of structs as "type".
type fakeTypes map[string]symbols.Field

func (f fakeTypes) Field(typ, path string) (symbols.Field, error) {
	if m, ok := f[typ+"."+path]; ok {
		return m, nil
	}
	if _, ok := f[typ]; !ok {
		return symbols.Field{}, fmt.Errorf("%s: %w", typ, symbols.ErrNoType)
	}
	return symbols.Field{}, fmt.Errorf("%s.%s: %w", typ, path, symbols.ErrNoMember)
}

func (f fakeTypes) Size(typ string) (uint64, error) {
	if m, ok := f[typ]; ok {
		return m.Size, nil
	}
	return 0, fmt.Errorf("%s: %w", typ, symbols.ErrNoType)
}

func (f fakeTypes) Enum(typ, constant string) (int64, error) {
	m, err := f.Field(typ, constant)
	return int64(m.Offset), err
}

// define lays a struct out: its members one behind the other, of 8 bytes each unless a size follows the name.
func (f fakeTypes) define(typ string, members ...any) {
	var size uint64
	for i, m := range members {
		name, ok := m.(string)
		if !ok {
			continue
		}
		field := symbols.Field{Offset: size, Size: 8, Elem: 8}
		if i+1 < len(members) {
			if n, ok := members[i+1].(int); ok {
				field.Size, field.Elem = uint64(n), uint64(min(n, 8))
			}
		}
		f[typ+"."+name] = field
		size += (field.Size + 7) &^ 7
	}
	f[typ] = symbols.Field{Size: size}
}

// fakeDebug is what a test's vmlinux knows.
type fakeDebug struct {
	types fakeTypes
	rules fakeRules
}

func (d fakeDebug) Types() (symbols.Types, error)       { return d.types, nil }
func (d fakeDebug) Unwinder() (symbols.Unwinder, error) { return d.rules, nil }

// fakeRules are rules by address.
type fakeRules map[uint64]symbols.FrameRule

func (f fakeRules) At(pc uint64) (symbols.FrameRule, bool) {
	r, ok := f[pc]
	return r, ok
}

// newWorld makes a kernel whose vmlinux has these symbols.
func newWorld(t testing.TB, rules fakeRules, syms map[string]uint64) *world {
	t.Helper()
	const size = 4 << 20
	im := memimage.New(size)
	top := im.Page()
	for off := uint64(0); off < size; off += 2 << 20 {
		im.Map(top, 4, 2, base+off, bridge.PhysAddr(off), memimage.Writable|memimage.NX)
	}
	w := &world{Image: im, fake: bridgetest.NewFake(im.RAM), types: fakeTypes{}, next: base + 2<<20, text: im.Page()}
	im.Map(top, 4, 1, textPage, w.text, 0)
	space, err := mmu.New(w.fake, nil).Space(mmu.Root{CR3: uint64(top), Levels: 4})
	if err != nil {
		t.Fatal(err)
	}
	var table []symbols.Symbol
	for name, addr := range syms {
		table = append(table, symbols.Symbol{Name: name, Addr: addr, Size: 0x100, Func: true})
	}
	w.Kernel = &Kernel{Space: space, Symbols: symbols.NewTable(table, nil), debug: fakeDebug{w.types, rules}}
	return w
}

// alloc gives out memory for a struct, or for n bytes of none.
func (w *world) alloc(typ string, n uint64) uint64 {
	if m, ok := w.types[typ]; ok {
		n = m.Size
	}
	at := w.next
	w.next += (n + 63) &^ 63
	return at
}

// put writes numbers of 8 bytes from an address on.
func (w *world) put(addr uint64, words ...uint64) {
	for i, v := range words {
		w.Put64(bridge.PhysAddr(addr-base)+bridge.PhysAddr(8*i), v)
	}
}

// code writes instructions into the page of code.
func (w *world) code(addr uint64, instructions ...byte) {
	copy(w.RAM[uint64(w.text)+addr-textPage:], instructions)
}

// call writes an instruction that calls a function and returns to an address.
func (w *world) call(function, ret uint64) {
	w.code(ret-callSize, binary.LittleEndian.AppendUint32([]byte{0xe8}, uint32(function-ret))...)
}

// set writes a member of a struct.
func (w *world) set(addr uint64, typ, path string, v uint64) {
	m, err := w.types.Field(typ, path)
	if err != nil {
		panic(err)
	}
	var p [8]byte
	binary.LittleEndian.PutUint64(p[:], v)
	copy(w.RAM[addr-base+m.Offset:][:min(m.Size, 8)], p[:])
}

func isErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || (got == nil) != (want == nil) {
		t.Errorf("error %v, want %v", got, want)
	}
}
