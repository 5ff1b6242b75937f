package unwind

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/test/linuxtest"
)

// Where the code of these tests lies: the rule of each function is found at its call's address.
const (
	inner  = 0xffffffff81000100
	middle = 0xffffffff81000200
	outer  = 0xffffffff81000300
)

// call is the rule of a function that keeps its caller's frame n bytes above its RSP.
func call(n int64) symbols.FrameRule {
	return symbols.FrameRule{Kind: symbols.CallFrame, Base: symbols.RSP, Offset: n}
}

func last() symbols.FrameRule { return symbols.FrameRule{Kind: symbols.LastFrame} }

func TestUnwind(t *testing.T) {
	interrupted := symbols.FrameRule{Kind: symbols.RegsFrame, Base: symbols.RSP, Offset: 8}
	exception := symbols.FrameRule{Kind: symbols.PartialRegsFrame, Base: symbols.RSP, Offset: 8}
	byRBP := symbols.FrameRule{Kind: symbols.CallFrame, Base: symbols.RBP, Offset: 16}
	otherStack := symbols.FrameRule{Kind: symbols.CallFrame, Base: symbols.RSP, Offset: 0, Deref: symbols.DerefAfterOffset}
	otherStackUp := symbols.FrameRule{Kind: symbols.CallFrame, Base: symbols.RSP, Offset: 16, Deref: symbols.DerefBeforeOffset}
	for _, tc := range []struct {
		name  string
		rules fakeRules
		stack func(w *world, sp uint64)
		want  []uint64 // the functions' addresses
		user  uint64   // RIP in user space
		err   string
	}{
		{
			"calls", fakeRules{inner: call(24), middle - 1: call(8), outer - 1: last()},
			func(w *world, sp uint64) { w.Put(sp, 0, 0, middle, outer) },
			[]uint64{inner, middle, outer}, 0, "",
		}, {
			"a frame pointer", fakeRules{inner: byRBP, middle - 1: last()},
			func(w *world, sp uint64) { w.Put(sp+64, 0, middle) },
			[]uint64{inner, middle}, 0, "",
		}, {
			"from one stack to another", fakeRules{inner: otherStack, middle - 1: otherStackUp, outer - 1: last()},
			func(w *world, sp uint64) {
				w.Put(sp, sp+0x808)
				w.Put(sp+0x800, middle, sp+0x400) // RSP is then sp+0x808, and holds the way back
				w.Put(sp+0x408, outer)
			},
			[]uint64{inner, middle, outer}, 0, "",
		}, {
			"an interrupt", fakeRules{inner: interrupted, middle: call(8), outer - 1: last()},
			func(w *world, sp uint64) {
				w.Put(sp+8, make([]uint64, 15)...)
				w.Put(sp+8+15*8, ^uint64(0), middle, 0x10, 0x246, sp+0x400, 0x18)
				w.Put(sp+0x400, outer)
			},
			[]uint64{inner, middle, outer}, 0, "",
		}, {
			"an exception's own frame", fakeRules{inner: exception, middle: last()},
			func(w *world, sp uint64) { w.Put(sp+8, middle, 0x10, 0x246, sp+0x400, 0x18) },
			[]uint64{inner, middle}, 0, "",
		}, {
			"up to user space", fakeRules{inner: interrupted},
			func(w *world, sp uint64) {
				w.Put(sp+8+15*8, 1, 0x401000, 0x33, 0x246, 0x7ffc00001000, 0x2b)
			},
			[]uint64{inner}, 0x401000, "",
		}, {
			"a call of address 0", fakeRules{middle - 1: last()},
			func(w *world, sp uint64) { w.Put(sp, middle); w.PutCode(middle-2, 0xff, 0xd0) },
			[]uint64{0, middle}, 0, "",
		}, {
			"a call of an address in user space", fakeRules{middle - 1: last()},
			func(w *world, sp uint64) { w.Put(sp, middle); w.call(inner, middle) },
			[]uint64{0x1234, middle}, 0, "",
		}, {
			"a call of an address that is not canonical", fakeRules{middle - 1: last()},
			func(w *world, sp uint64) { w.Put(sp, middle); w.call(inner, middle) },
			[]uint64{0xdead000000000000, middle}, 0, "",
		}, {
			"a call of data", fakeRules{middle - 1: last()},
			func(w *world, sp uint64) { w.Put(sp, middle); w.call(inner, middle) },
			[]uint64{base + 0x1000, middle}, 0, "",
		}, {
			"a call of an address where nothing is mapped", fakeRules{middle - 1: last()},
			func(w *world, sp uint64) { w.Put(sp, middle); w.call(inner, middle) },
			[]uint64{0xffffffffc0001000, middle}, 0, "",
		}, {
			"a bad address of code that was not called", fakeRules{middle - 1: last()},
			func(w *world, sp uint64) { w.Put(sp, middle) },
			[]uint64{0x1234}, 0, "no unwind table covers the code at 0x1234",
		}, {
			"code that no table covers, and that keeps a frame pointer", fakeRules{middle - 1: call(8), outer - 1: last()},
			func(w *world, sp uint64) { w.Put(sp+64, sp+128, middle, outer); w.call(inner, middle) },
			[]uint64{inner, middle, outer}, 0, "",
		}, {
			"code that no table covers", fakeRules{inner: call(8)},
			func(w *world, sp uint64) { w.Put(sp, middle) },
			[]uint64{inner, middle}, 0, "no unwind table covers the code at 0xffffffff810001ff",
		}, {
			"code of which the table knows nothing", fakeRules{inner: {Kind: symbols.NoFrame}},
			func(*world, uint64) {}, []uint64{inner}, 0, "nothing is known of the caller",
		}, {
			"a return address of 0", fakeRules{inner: call(8)},
			func(*world, uint64) {}, []uint64{inner}, 0, "return address is 0",
		}, {
			"an unknown register", fakeRules{inner: {Kind: symbols.CallFrame, Base: symbols.R10}},
			func(*world, uint64) {}, []uint64{inner}, 0, "not known",
		}, {
			"an invalid stack", fakeRules{inner: call(1 << 40)},
			func(*world, uint64) {}, []uint64{inner}, 0, "not present",
		}, {
			"a stack that runs in a circle", fakeRules{inner: otherStack, middle - 1: otherStack},
			func(w *world, sp uint64) { w.Put(sp-8, middle, sp) },
			[]uint64{inner, middle}, 0, "circle",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, tc.rules, nil)
			linuxtest.DefineRegisters(w.Structs)
			sp := w.Alloc("", 0x1000) + 0x100
			tc.stack(w, sp)
			regs := &Registers{Exact: true}
			regs.set(symbols.RIP, tc.want[0])
			regs.set(symbols.RSP, sp)
			regs.set(symbols.RBP, sp+64)
			b, err := w.Unwind(ctx, regs)
			if err != nil {
				t.Fatal(err)
			}
			var got []uint64
			for _, f := range b.Frames {
				got = append(got, f.PC)
			}
			if fmt.Sprintf("%#x", got) != fmt.Sprintf("%#x", tc.want) {
				t.Errorf("functions %#x, want %#x", got, tc.want)
			}
			if (b.User != nil) != (tc.user != 0) || b.User != nil && b.User.PC() != tc.user {
				t.Errorf("user space: %+v, want RIP %#x", b.User, tc.user)
			}
			if tc.err == "" && b.Err != nil || b.Err == nil && tc.err != "" || b.Err != nil && !strings.Contains(b.Err.Error(), tc.err) {
				t.Errorf("error %v, want %q", b.Err, tc.err)
			}
		})
	}
}

// TestUnwindIsBounded has a stack of calls without an end.
func TestUnwindIsBounded(t *testing.T) {
	w := newWorld(t, fakeRules{inner - 1: call(8)}, nil)
	sp := w.Alloc("", 1<<20)
	for i := range uint64(1 << 17) {
		w.Put(sp+8*i, inner)
	}
	regs := &Registers{}
	regs.set(symbols.RIP, inner)
	regs.set(symbols.RSP, sp)
	b, err := w.Unwind(ctx, regs)
	if err != nil || b.Err == nil || len(b.Frames) != maxFrames {
		t.Errorf("%d frames, %v, %v", len(b.Frames), b.Err, err)
	}
}

// damagedCode is code whose unwind table cannot be read.
type damagedCode struct{ linux.Code }

func (damagedCode) FrameRule(context.Context, symbols.Unwinder, uint64) (symbols.FrameRule, bool, error) {
	return symbols.FrameRule{}, false, errors.New("ORC table of module torn: damaged")
}

func TestUnwindReportsDamagedTableOfModule(t *testing.T) {
	const inModule = 0xffffffffc0000000
	w := newWorld(t, nil, nil)
	w.Kernel.Code = damagedCode{w.Kernel.Code}
	regs := &Registers{Exact: true}
	regs.set(symbols.RIP, inModule+0x10)
	regs.set(symbols.RSP, w.Alloc("", 0x1000))
	for _, name := range []string{"without a frame pointer", "with an invalid one"} {
		b, err := w.Unwind(ctx, regs)
		if err != nil || b.Err == nil || !strings.Contains(b.Err.Error(), "ORC table of module torn") {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
		regs.set(symbols.RBP, regs.SP()+0x10)
	}
}
