package unwind

import (
	"context"
	"encoding/binary"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/test/kmemtest"
	"physgdb/test/linuxtest"
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
	*linux.Kernel
	*Unwinder
}

// fakeRules are rules by address.
type fakeRules map[uint64]symbols.FrameRule

func (f fakeRules) At(pc uint64) (symbols.FrameRule, bool) {
	r, ok := f[pc]
	return r, ok
}

// fakeDebug is a vmlinux with debug information.
type fakeDebug struct {
	types symbols.Types
	rules fakeRules
}

func (d fakeDebug) Types() (symbols.Types, error)       { return d.types, nil }
func (d fakeDebug) Unwinder() (symbols.Unwinder, error) { return d.rules, nil }

// newWorld makes a kernel whose vmlinux has these symbols.
func newWorld(t testing.TB, rules fakeRules, syms map[string]uint64) *world {
	t.Helper()
	small := linuxtest.New(t, nil, nil)
	k := small.With(t, syms, fakeDebug{small.Structs, rules})
	k.Text, k.Slide = 0, 0
	return &world{small.World, k, New(k)}
}

// use makes the world's kernel k.
func (w *world) use(k *linux.Kernel) { w.Kernel, w.Unwinder = k, New(k) }

// call writes an instruction that calls a function and returns to an address.
func (w *world) call(function, ret uint64) {
	w.PutCode(ret-callSize, binary.LittleEndian.AppendUint32([]byte{0xe8}, uint32(function-ret))...)
}
