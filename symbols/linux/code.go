package linux

import (
	"context"

	"physgdb/symbols"
)

// Code is code that was loaded after the kernel's image: its modules. Addresses are those in the
// running kernel.
type Code interface {
	// Symbolize returns the function or variable at an address. found is false if the address is
	// not within this code.
	Symbolize(ctx context.Context, addr uint64) (p Place, found bool, err error)
	// FrameRule returns how to unwind the function at pc. kernel is the kernel's own table. found
	// is false if no table of this code covers pc.
	FrameRule(ctx context.Context, kernel symbols.Unwinder, pc uint64) (rule symbols.FrameRule, found bool, err error)
	// Areas returns the memory of this code.
	Areas(ctx context.Context) ([]Area, error)
}

// noCode is the Code of a kernel without any.
type noCode struct{}

func (noCode) Symbolize(context.Context, uint64) (Place, bool, error) { return Place{}, false, nil }

func (noCode) FrameRule(context.Context, symbols.Unwinder, uint64) (symbols.FrameRule, bool, error) {
	return symbols.FrameRule{}, false, nil
}

func (noCode) Areas(context.Context) ([]Area, error) { return nil, nil }
