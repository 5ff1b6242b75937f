package unwind

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/test/kmemtest"
)

// Addresses that replace return addresses in these tests.
const (
	toHandler = 0xffffffff81000800
	toProbe   = 0xffffffff81000900
)

// instrumentedWorld is a world with one task, asleep, whose return addresses were replaced.
type instrumentedWorld struct {
	*world
	task *linux.Task
	slot uint64 // of the return address of inner
}

// newInstrumentedWorld makes a world whose kernel has these symbols besides the usual, and the
// members of task_struct and of what these point to by define.
func newInstrumentedWorld(t testing.TB, syms map[string]uint64, define func(types kmemtest.Structs)) *instrumentedWorld {
	all := map[string]uint64{"return_to_handler": toHandler}
	for name, addr := range syms {
		all[name] = addr
	}
	w := &instrumentedWorld{world: newWorld(t, fakeRules{inner: call(8), middle - 1: last(), outer - 1: last()}, all)}
	w.Structs.Define("ftrace_ret_stack", "ret", "func", "retp")
	w.Structs.Define("rethook_node", "rcu", "llist.next", "ret_addr", "frame")
	define(w.Structs)
	w.task = &linux.Task{Addr: w.Alloc("task_struct", 0), Stack: w.Alloc("", 0x4000), StackSize: 0x4000}
	w.slot = w.task.Stack + 0x2000
	w.byStack.Set([]*linux.Task{w.task})
	return w
}

// since611 has the members of a task since Linux 6.11, since518 those from 5.18 to 6.10.
func since611(types kmemtest.Structs) {
	types.Define("task_struct", "pid", "ret_stack", "curr_ret_stack", "rethooks.first")
}

func before518(types kmemtest.Structs) {
	types.Define("task_struct", "pid", "ret_stack", "curr_ret_stack", "kretprobe_instances.first")
	types.Define("kretprobe_instance", "rph", "llist.next", "ret_addr", "fp")
}

func before511(types kmemtest.Structs) {
	types.Define("task_struct", "pid", "ret_stack", "curr_ret_stack")
	types.Define("kretprobe_instance", "hlist.next", "rp", "ret_addr", "task", "fp")
}

// words gives the task a ret_stack.
func (w *instrumentedWorld) words(current uint64, words ...uint64) {
	stack := w.Alloc("", 0x1000)
	w.Put(stack, words...)
	w.Set(w.task.Addr, "task_struct", "ret_stack", stack)
	w.Set(w.task.Addr, "task_struct", "curr_ret_stack", current)
}

// nodes makes a list of replaced return addresses, each a place and an address, and returns its
// first pointer.
func (w *instrumentedWorld) nodes(typ, next, slot string, pairs ...[2]uint64) uint64 {
	var first uint64
	for i := len(pairs) - 1; i >= 0; i-- {
		at := w.Alloc(typ, 0)
		w.Set(at, typ, slot, pairs[i][0])
		w.Set(at, typ, "ret_addr", pairs[i][1])
		w.Set(at, typ, next, first)
		first = at + w.Structs[typ+"."+next].Offset
	}
	return first
}

func TestTrueReturn(t *testing.T) {
	graphWords := map[string]uint64{"fgraph_reserve_data": outer, "arch_rethook_trampoline": toProbe}
	for _, tc := range []struct {
		name   string
		syms   map[string]uint64
		define func(kmemtest.Structs)
		setUp  func(w *instrumentedWorld)
		word   uint64
		want   uint64 // 0 for an error
		err    string
	}{
		{"not replaced", nil, since611, func(*instrumentedWorld) {}, middle, middle, ""},
		{
			"graph, a series of words", graphWords, since611, func(w *instrumentedWorld) {
				w.words(9, 0, outer, 0, w.slot+64, 0x1003, middle, 0, w.slot, 0x1004)
			}, toHandler, middle, "",
		}, {
			"graph, an array", nil, since611, func(w *instrumentedWorld) {
				w.words(1, outer, 0, w.slot+64, middle, 0, w.slot)
			}, toHandler, middle, "",
		}, {
			"graph, an entry that has been left", nil, since611, func(w *instrumentedWorld) {
				w.words(0, middle, 0, w.slot, outer, 0, w.slot)
			}, toHandler, middle, "",
		}, {
			"graph, a function that ended in a jump", graphWords, since611, func(w *instrumentedWorld) {
				w.words(8, middle, 0, w.slot, 0x1003, toHandler, 0, w.slot, 0x1004)
			}, toHandler, middle, "",
		}, {
			"rethook", graphWords, since611, func(w *instrumentedWorld) {
				w.Set(w.task.Addr, "task_struct", "rethooks.first", w.nodes("rethook_node", "llist.next", "frame",
					[2]uint64{w.slot - 64, outer}, [2]uint64{w.slot, toProbe}, [2]uint64{w.slot, middle}))
			}, toProbe, middle, "",
		}, {
			"kretprobe, 5.11 to 5.17", map[string]uint64{"__kretprobe_trampoline": toProbe}, before518, func(w *instrumentedWorld) {
				w.Set(w.task.Addr, "task_struct", "kretprobe_instances.first", w.nodes("kretprobe_instance", "llist.next", "fp",
					[2]uint64{w.slot - 64, outer}, [2]uint64{w.slot, middle}))
			}, toProbe, middle, "",
		}, {
			"kretprobe, up to 5.10", map[string]uint64{"kretprobe_trampoline": toProbe, "kretprobe_inst_table": base + 0x100000},
			before511, func(w *instrumentedWorld) {
				// hash_ptr(task, 6), include/linux/hash.h
				bucket := w.task.Addr * 0x61C8864680B583EB >> 58
				w.Put(base+0x100000+8*bucket, w.nodes("kretprobe_instance", "hlist.next", "fp",
					[2]uint64{w.slot - 64, outer}, [2]uint64{w.slot, middle}))
			}, toProbe, middle, "",
		}, {
			"both at one place", graphWords, since611, func(w *instrumentedWorld) {
				w.words(4, toProbe, 0, w.slot, 0x1003)
				w.Set(w.task.Addr, "task_struct", "rethooks.first",
					w.nodes("rethook_node", "llist.next", "frame", [2]uint64{w.slot, middle}))
			}, toHandler, middle, "",
		}, {
			"nothing is kept", graphWords, since611, func(w *instrumentedWorld) {}, toHandler, 0, "keeps no address",
		}, {
			"an address that is no code", nil, since611, func(w *instrumentedWorld) { w.words(0, 5, 0, w.slot) }, toHandler, 0,
			"keeps no address",
		}, {
			"too many entries", nil, since611, func(w *instrumentedWorld) { w.words(1 << 20) }, toHandler, 0, "damaged",
		}, {
			"fewer than none", graphWords, since611, func(w *instrumentedWorld) { w.words(0x80000000) }, toHandler, 0, "damaged",
		}, {
			"a ret_stack that is nowhere", graphWords, since611, func(w *instrumentedWorld) {
				w.words(4)
				w.Set(w.task.Addr, "task_struct", "ret_stack", 0x1234)
			}, toHandler, 0, "ret_stack",
		}, {
			"a list in a circle", graphWords, since611, func(w *instrumentedWorld) {
				first := w.nodes("rethook_node", "llist.next", "frame", [2]uint64{w.slot - 64, middle})
				w.Put(first, first)
				w.Set(w.task.Addr, "task_struct", "rethooks.first", first)
			}, toProbe, 0, "no end",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newInstrumentedWorld(t, tc.syms, tc.define)
			w.Kernel.Text = textStart
			tc.setUp(w)
			got, err := w.TrueReturn(ctx, w.slot, tc.word)
			if tc.want != 0 && (err != nil || got != tc.want) {
				t.Errorf("%#x, %v, want %#x", got, err, uint64(tc.want))
			}
			if tc.want == 0 && (!errors.Is(err, ErrReplaced) || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("%#x, %v, want an error with %q", got, err, tc.err)
			}
			w.Put(w.slot, tc.word)
			var p [8]byte
			if n, err := w.ReadTrueReturns(ctx, w.slot+2, p[:]); n != len(p) || err != nil {
				t.Fatal(n, err)
			}
			want := tc.want
			if want == 0 {
				want = tc.word
			}
			if text := fmt.Sprintf("%012x", want>>16); fmt.Sprintf("%02x%02x%02x%02x%02x%02x", p[5], p[4], p[3], p[2], p[1], p[0]) != text {
				t.Errorf("read %x, want %s", p, text)
			}
		})
	}
}

// textStart is where the code of these tests begins.
const textStart = 0xffffffff81000000

// TestUnwindFindsTrueReturns unwinds a function whose return address was replaced.
func TestUnwindFindsTrueReturns(t *testing.T) {
	w := newInstrumentedWorld(t, nil, since611)
	w.Kernel.Text = textStart
	w.words(0, middle, 0, w.slot)
	w.Put(w.slot, toHandler)
	regs := &Registers{Exact: true}
	regs.set(symbols.RIP, inner)
	regs.set(symbols.RSP, w.slot)
	b, err := w.Unwind(ctx, regs)
	if err != nil || b.Err != nil || len(b.Frames) != 2 || b.Frames[1].PC != middle {
		t.Errorf("%+v, %v; want inner and middle", b, err)
	}
	w.words(0, middle, 0, w.slot+8)
	if b, err = w.Unwind(ctx, regs); err != nil || !errors.Is(b.Err, ErrReplaced) {
		t.Errorf("%+v, %v; want %v", b, err, ErrReplaced)
	}
}

// FuzzTrueReturn wants no panic and no endless loop of a ret_stack and a list that are anything.
func FuzzTrueReturn(f *testing.F) {
	f.Add(uint32(9), []byte("ret_stack"), uint64(base), true)
	f.Fuzz(func(t *testing.T, current uint32, data []byte, first uint64, words bool) {
		syms := map[string]uint64{"arch_rethook_trampoline": toProbe}
		if words {
			syms["fgraph_reserve_data"] = outer
		}
		w := newInstrumentedWorld(t, syms, since611)
		w.words(uint64(current))
		stack := w.Next - 0x1000
		copy(w.RAM[stack-base:], data[:min(len(data), 0x1000)])
		w.Set(w.task.Addr, "task_struct", "rethooks.first", first)
		for _, word := range []uint64{toHandler, toProbe} {
			if got, err := w.TrueReturn(ctx, w.slot, word); err == nil && (got == toHandler || got == toProbe) {
				t.Errorf("%#x is no true address", got)
			}
		}
	})
}
