package linux

import (
	"context"
	"errors"
	"fmt"

	"physgdb/symbols"
)

// ErrNoSymbol says that there is no symbol that an address lies in.
var ErrNoSymbol = errors.New("no symbol")

// Place is what an address belongs to.
type Place struct {
	symbols.Symbol        // its address is that in the running kernel
	Offset         uint64 // of the address from the symbol's, in bytes
	Module         string // that it belongs to, or "" for the kernel itself
}

// String writes the place as the kernel's own log does: name+0xoffset/0xsize [module].
func (p Place) String() string {
	if p.Module == "" {
		return fmt.Sprintf("%s+%#x/%#x", p.Name, p.Offset, p.Size)
	}
	return fmt.Sprintf("%s+%#x/%#x [%s]", p.Name, p.Offset, p.Size, p.Module)
}

// Symbolize finds what an address belongs to: in the kernel, in a module, or in code made at run time. The error is ErrNoSymbol, or why that could
// not be found out.
func (k *Kernel) Symbolize(ctx context.Context, addr uint64) (Place, error) {
	if p, ok := k.place(addr); ok {
		return p, nil
	}
	if p, found, err := k.Code.Symbolize(ctx, addr); found || err != nil {
		return p, err
	}
	return k.generatedPlace(ctx, addr)
}

// SymbolizeReturn is Symbolize for a return address. A call can be the last instruction of its function, so that the
// address behind it belongs to the next one: the kernel's own traces name the caller all the same (%pB), and so does this.
func (k *Kernel) SymbolizeReturn(ctx context.Context, addr uint64) (Place, error) {
	p, err := k.Symbolize(ctx, addr-1)
	p.Offset++
	return p, err
}

// place finds what an address of the kernel itself belongs to.
func (k *Kernel) place(addr uint64) (Place, bool) {
	if k.Symbols == nil || addr < ImageBase || addr >= ImageBase+imageSpan {
		return Place{}, false
	}
	end, hasEnd := k.Addr("_end")
	s, off, ok := k.Symbols.At(addr - k.Slide)
	if !ok || s.Addr < ImageBase || hasEnd && addr >= end {
		return Place{}, false
	}
	const filler = 64 // bytes at most between two symbols
	if gap := k.Symbols.Next(s.Addr) - (s.Addr + s.Size); gap < filler {
		s.Size += gap // the kernel knows where the next one begins and no more (get_symbol_pos, kernel/kallsyms.c)
	}
	s.Addr += k.Slide
	return Place{Symbol: s, Offset: off}, true
}

// NameAt writes an address as [Place.String] does, or returns "" if nothing is known about it. Unlike [Kernel.Name] it
// knows modules too.
func (k *Kernel) NameAt(ctx context.Context, addr uint64) string {
	p, err := k.Symbolize(ctx, addr)
	if err != nil {
		return ""
	}
	return p.String()
}
