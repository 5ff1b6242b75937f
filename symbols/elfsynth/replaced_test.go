package elfsynth

import (
	"encoding/binary"
	"testing"

	"github.com/go-delve/delve/pkg/dwarf/frame"

	"physgdb/symbols"
)

// TestReplacedReturns unwinds by rules that are not ORC, before, at and after an address that
// replaces return addresses.
func TestReplacedReturns(t *testing.T) {
	const text, returns, end = 0xffffffff81000000, 0xffffffff81000100, 0xffffffff81000200
	byRSP := symbols.FrameRule{Kind: symbols.CallFrame, Base: symbols.RSP, Offset: 24}
	p := &Program{
		Sections: []Section{{Name: ".text", Addr: text, Size: end - text, Exec: true}},
		Symbols: []symbols.Symbol{
			{Name: "before", Addr: text, Size: 0xf0, Func: true}, {Name: "return_to_handler", Addr: returns, Size: 0x100, Func: true},
		},
		Rules:    []symbols.CodeRule{{From: text, To: returns, FrameRule: byRSP}, {From: returns, To: end, FrameRule: symbols.ByFramePointer()}},
		Replaced: []uint64{returns},
	}
	section, syms, err := debugFrame(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	fdes, err := frame.Parse(section, binary.LittleEndian, 0, 8, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(syms) != 1 || syms[0].Name != replacedName || syms[0].Addr != returns-1 || syms[0].Size != 1 {
		t.Errorf("symbols %+v, want one before %#x", syms, uint64(returns))
	}
	u := &unwinder{t: t, fdes: frame.FrameDescriptionEntries(nil).Append(fdes)}
	for pc, rule := range map[uint64]symbols.FrameRule{
		text: byRSP, returns - 2: byRSP, returns: symbols.ByFramePointer(), end - 1: symbols.ByFramePointer(),
	} {
		m := machine{pc: pc, seed: pc}
		if got, want := u.step(m), m.byORC(&rule); got != want {
			t.Errorf("%#x: %+v, want %+v", pc, got, want)
		}
	}
	m := machine{pc: returns - 1, seed: 1}
	got := u.step(m)
	sp := m.reg(symbols.RSP)
	want := caller{}
	want.regs[symbols.RSP] = value{true, sp}
	want.regs[symbols.RBP] = value{true, m.reg(symbols.RBP)}
	want.regs[symbols.RIP] = value{true, m.mem(sp - 8 - 1<<62)}
	if got != want {
		t.Errorf("where a replaced address returns: %+v, want %+v", got, want)
	}
}
