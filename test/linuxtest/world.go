// Package linuxtest makes small kernels for the tests of packages that read one.
package linuxtest

import (
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/test/kmemtest"
)

// World is a kernel in a small memory that a test fills.
type World struct {
	*kmemtest.World
	*linux.Kernel

	code func(*linux.Kernel) linux.Code
}

// New makes a kernel whose vmlinux has symbols at these addresses, and the types in Structs. code
// may be nil; see [linux.Options].
func New(t testing.TB, addrs map[string]uint64, code func(*linux.Kernel) linux.Code) *World {
	t.Helper()
	w := &World{World: kmemtest.New(t), code: code}
	w.Kernel = w.With(t, addrs, debug{w.Structs})
	return w
}

// With returns a kernel in the same memory with other symbols and debug information.
func (w *World) With(t testing.TB, addrs map[string]uint64, d linux.Debug) *linux.Kernel {
	t.Helper()
	var table []symbols.Symbol
	for name, addr := range addrs {
		table = append(table, symbols.Symbol{Name: name, Addr: addr, Size: 0x100, Func: true})
	}
	k, err := linux.New(w.MMU, &linux.Location{Root: w.Root, Text: kmemtest.TextPage}, &linux.Options{
		Symbols: symbols.NewTable(table, nil), Debug: d, Code: w.code,
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// debug is a vmlinux with types and without unwind tables.
type debug struct{ types symbols.Types }

func (d debug) Types() (symbols.Types, error)       { return d.types, nil }
func (d debug) Unwinder() (symbols.Unwinder, error) { return noRules{}, nil }

// noRules is an unwind table without entries.
type noRules struct{}

func (noRules) At(uint64) (symbols.FrameRule, bool) { return symbols.FrameRule{}, false }

// DefineRegisters lays out the structs that registers are read from.
func DefineRegisters(types kmemtest.Structs) {
	types.Define("pt_regs", "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di",
		"orig_ax", "ip", "cs", 2, "flags", "sp", "ss", 2)
	types.Define("inactive_task_frame", "r15", "r14", "r13", "r12", "bx", "bp", "ret_addr")
}
