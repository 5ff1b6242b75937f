// Package kmemtest makes small memories with kernel structs in them, for tests.
package kmemtest

import (
	"encoding/binary"
	"fmt"
	"testing"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/test/memimage"
)

// Virtual addresses of a [World].
const (
	Base     = 0xffff888000000000 // all memory, page after page, as in a kernel's direct map
	TextPage = 0xffffffff81000000 // the only page of code
)

const size = 4 << 20 // bytes

// World is a small memory that a test fills.
type World struct {
	*memimage.Image
	Fake    *bridgetest.Fake // reads it
	MMU     *mmu.MMU
	Root    mmu.Root // maps it
	Virtual *mmu.Space
	Structs Structs
	Next    uint64 // address of the memory that Alloc returns next

	text bridge.PhysAddr // of the page at TextPage
}

// New makes an empty World.
func New(t testing.TB) *World {
	t.Helper()
	im := memimage.New(size)
	top := im.Page()
	for off := uint64(0); off < size; off += 2 << 20 {
		im.Map(top, 4, 2, Base+off, bridge.PhysAddr(off), memimage.Writable|memimage.NX)
	}
	w := &World{
		Image: im, Fake: bridgetest.NewFake(im.RAM), Root: mmu.Root{CR3: uint64(top), Levels: 4}, Structs: Structs{},
		Next: Base + 2<<20, text: im.Page(),
	}
	im.Map(top, 4, 1, TextPage, w.text, 0)
	w.MMU = mmu.New(w.Fake, nil)
	var err error
	if w.Virtual, err = w.MMU.Space(w.Root); err != nil {
		t.Fatal(err)
	}
	return w
}

// Structs are the layouts of structs: members as "type.path", and sizes of structs as "type". It
// implements [symbols.Types].
type Structs map[string]symbols.Field

// Field implements [symbols.Types].
func (s Structs) Field(typ, path string) (symbols.Field, error) {
	if m, ok := s[typ+"."+path]; ok {
		return m, nil
	}
	if _, ok := s[typ]; !ok {
		return symbols.Field{}, fmt.Errorf("%s: %w", typ, symbols.ErrNoType)
	}
	return symbols.Field{}, fmt.Errorf("%s.%s: %w", typ, path, symbols.ErrNoMember)
}

// Size implements [symbols.Types].
func (s Structs) Size(typ string) (uint64, error) {
	if m, ok := s[typ]; ok {
		return m.Size, nil
	}
	return 0, fmt.Errorf("%s: %w", typ, symbols.ErrNoType)
}

// Enum implements [symbols.Types].
func (s Structs) Enum(typ, constant string) (int64, error) {
	m, err := s.Field(typ, constant)
	return int64(m.Offset), err
}

// Define defines a struct of members in sequence: their names, each followed by its size in bytes
// if that is not 8.
func (s Structs) Define(typ string, members ...any) {
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
		s[typ+"."+name] = field
		size += (field.Size + 7) &^ 7
	}
	s[typ] = symbols.Field{Size: size}
}

// Alloc returns the address of memory for a struct, or for n bytes if typ is not defined.
func (w *World) Alloc(typ string, n uint64) uint64 {
	if m, ok := w.Structs[typ]; ok {
		n = m.Size
	}
	at := w.Next
	w.Next += (n + 63) &^ 63
	return at
}

// Put writes numbers of 8 bytes, from an address on.
func (w *World) Put(addr uint64, words ...uint64) {
	for i, v := range words {
		w.Put64(bridge.PhysAddr(addr-Base)+bridge.PhysAddr(8*i), v)
	}
}

// Word returns the number of 8 bytes at an address.
func (w *World) Word(addr uint64) uint64 { return w.Get64(bridge.PhysAddr(addr - Base)) }

// Set writes a member of a struct, of at most 8 bytes.
func (w *World) Set(addr uint64, typ, path string, v uint64) {
	m, err := w.Structs.Field(typ, path)
	if err != nil {
		panic(err)
	}
	var p [8]byte
	binary.LittleEndian.PutUint64(p[:], v)
	copy(w.RAM[addr-Base+m.Offset:][:min(m.Size, 8)], p[:])
}

// PutCode writes instructions into the page of code.
func (w *World) PutCode(addr uint64, instructions ...byte) {
	copy(w.RAM[uint64(w.text)+addr-TextPage:], instructions)
}
