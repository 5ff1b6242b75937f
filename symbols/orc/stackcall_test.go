package orc

import (
	"testing"

	"physgdb/symbols"
)

// The function that switches stacks in Linux 5.10: RBP is pushed, points to itself, and is written
// to the top of the new stack. Its table says RSP+8, RSP+16, RBP+16, RSP+8. Code before and after
// it, with the same rule, is found by RBP.
func TestFollowStackCalls(t *testing.T) {
	const fn, next = 0x1000, 0x1020
	saved := symbols.SavedReg{Reg: symbols.RBP, Base: symbols.CFA, Offset: -16}
	const atRBP = "\x10\x00\xf0\xff\x14\x00" // RBP+16, RBP saved at CFA-16
	table := func() *Table {
		return orcTable(t, 0x10000, fn-0x20, atRBP, fn, orcCall8, fn+1, "\x10\x00\xf0\xff\x15\x00", fn+4, atRBP,
			fn+0x14, orcCall8, next, atRBP, next+0x20, orcNone)
	}
	names := func(name string) *symbols.Table {
		return symbols.NewTable([]symbols.Symbol{{Name: name, Addr: fn}, {Name: "asm_call_irq_on_stack", Addr: fn}, {Name: "next", Addr: next}}, nil)
	}
	switched := rule(symbols.CallFrame, symbols.RSP, symbols.DerefBeforeOffset, 16, saved)
	for _, tc := range []struct {
		name string
		want symbols.FrameRule
	}{{"asm_call_on_stack", switched}, {"another", call(symbols.RBP, 16, saved)}} {
		o := table()
		o.FollowStackCalls(names(tc.name))
		for pc, want := range map[uint64]symbols.FrameRule{
			fn - 1: call(symbols.RBP, 16, saved), fn: call(symbols.RSP, 8), fn + 1: call(symbols.RSP, 16, saved), fn + 4: tc.want, fn + 0x13: tc.want,
			fn + 0x14: call(symbols.RSP, 8), next: call(symbols.RBP, 16, saved),
		} {
			if got, ok := o.At(pc); !ok || got != want {
				t.Errorf("%s: at %#x %+v, %v, want %+v", tc.name, pc, got, ok, want)
			}
		}
	}
}
