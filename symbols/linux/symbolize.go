package linux

import (
	"context"
	"errors"
	"fmt"

	"physgdb/symbols"
)

// ErrNoSymbol is the error for an address outside of all symbols.
var ErrNoSymbol = errors.New("no symbol")

// Place is the symbol that contains an address.
type Place struct {
	symbols.Symbol        // its address is that in the running kernel
	Offset         uint64 // of the address from the symbol's, in bytes
	Module         string // name of the module, or "" for the kernel itself
}

// String returns the place as in the kernel's log: name+0xoffset/0xsize [module].
func (p Place) String() string {
	if p.Module == "" {
		return fmt.Sprintf("%s+%#x/%#x", p.Name, p.Offset, p.Size)
	}
	return fmt.Sprintf("%s+%#x/%#x [%s]", p.Name, p.Offset, p.Size, p.Module)
}

// Symbolize returns the symbol that contains an address: in the kernel, in a module, or in code
// generated at run time. The error is ErrNoSymbol, or why the symbol could not be found.
func (k *Kernel) Symbolize(ctx context.Context, addr uint64) (Place, error) {
	if p, ok := k.place(addr); ok {
		return p, nil
	}
	if p, found, err := k.Code.Symbolize(ctx, addr); found || err != nil {
		return p, err
	}
	return k.generatedPlace(ctx, addr)
}

// SymbolizeReturn is Symbolize for a return address. If the call is the last instruction of a
// function, the return address is in the next function; like the kernel's own traces (%pB),
// SymbolizeReturn returns the caller.
func (k *Kernel) SymbolizeReturn(ctx context.Context, addr uint64) (Place, error) {
	p, err := k.Symbolize(ctx, addr-1)
	p.Offset++
	return p, err
}

// place returns the symbol of the kernel itself that contains an address.
func (k *Kernel) place(addr uint64) (Place, bool) {
	if k.Symbols == nil || addr < ImageBase || addr >= ImageBase+ImageSpan {
		return Place{}, false
	}
	end, hasEnd := k.Addr("_end")
	s, off, ok := k.Symbols.At(addr - k.Slide)
	if !ok || s.Addr < ImageBase || hasEnd && addr >= end {
		return Place{}, false
	}
	const filler = 64 // bytes at most between two symbols
	if gap := k.Symbols.Next(s.Addr) - (s.Addr + s.Size); gap < filler {
		s.Size += gap // the kernel uses the distance to the next symbol (get_symbol_pos, kernel/kallsyms.c)
	}
	s.Addr += k.Slide
	return Place{Symbol: s, Offset: off}, true
}

// InText reports whether an address can be one of code: of the kernel's image or of a module.
func (k *Kernel) InText(addr uint64) bool { return addr >= k.Text && addr < moduleEnd }

// moduleEnd is the end of the addresses of modules (MODULES_END,
// arch/x86/include/asm/pgtable_64_types.h).
const moduleEnd = 0xffff_ffff_ff00_0000

// NameAt returns an address as [Place.String] does, or "" if no symbol contains it. Unlike
// [Kernel.Name] it knows modules.
func (k *Kernel) NameAt(ctx context.Context, addr uint64) string {
	p, err := k.Symbolize(ctx, addr)
	if err != nil {
		return ""
	}
	return p.String()
}
