package linux

import (
	"context"
	"testing"

	"physgdb/symbols"
	"physgdb/test/kmemtest"
)

var ctx = context.Background()

// Virtual addresses of a [world].
const (
	base     = kmemtest.Base
	textPage = kmemtest.TextPage
)

// world is a kernel in a small memory that a test fills.
type world struct {
	*kmemtest.World
	*Kernel
}

// fakeDebug is a vmlinux with debug information.
type fakeDebug struct {
	types symbols.Types
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
	w := &world{World: kmemtest.New(t)}
	var table []symbols.Symbol
	for name, addr := range syms {
		table = append(table, symbols.Symbol{Name: name, Addr: addr, Size: 0x100, Func: true})
	}
	w.Kernel = &Kernel{
		Location: Location{Root: w.Root}, Space: w.Virtual, Symbols: symbols.NewTable(table, nil), Code: noCode{}, m: w.MMU,
		debug: fakeDebug{w.Structs, rules},
	}
	return w
}
