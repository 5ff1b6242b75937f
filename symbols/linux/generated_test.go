package linux

import (
	"fmt"
	"strings"
	"testing"

	"physgdb/symbols/linux/kmem"

	"physgdb/symbols"
)

// Where the lists of these tests and their code lie.
const (
	bpfHead    = base + 0x100000
	opsHead    = base + 0x100100
	opsEnd     = base + 0x100200
	slotsHead  = base + 0x100300
	optHead    = base + 0x100400
	callerAt   = 0xffffffff81000a00
	regsCaller = 0xffffffff81000b00
	madeAt     = 0xffffffffc0100000
	textStart  = 0xffffffff81000000
)

// newGeneratingWorld makes a world whose kernel keeps lists of generated code, all of them empty.
func newGeneratingWorld(t testing.TB, rules fakeRules) *world {
	w := newWorld(t, rules, map[string]uint64{
		"bpf_kallsyms": bpfHead, "ftrace_ops_list": opsHead, "ftrace_list_end": opsEnd, "kprobe_insn_slots": slotsHead,
		"kprobe_optinsn_slots": optHead, "ftrace_caller": callerAt, "ftrace_regs_caller": regsCaller,
	})
	w.Structs.Define("bpf_ksym", "start", "end", "name", 512, "lnode.next", "lnode.prev")
	w.Structs.Define("ftrace_ops", "func", "next", "flags", "trampoline", "trampoline_size")
	w.Structs.Define("kprobe_insn_cache", "mutex", "pages.next")
	w.Structs.Define("kprobe_insn_page", "list.next", "list.prev", "insns")
	w.Put(bpfHead, bpfHead)
	w.Put(opsHead, opsEnd)
	w.Put(slotsHead+8, slotsHead+8)
	w.Put(optHead+8, optHead+8)
	return w
}

// ksym adds a name to the list of BPF, at its beginning.
func (w *world) ksym(name string, start, end uint64) uint64 {
	at := w.Alloc("bpf_ksym", 0)
	w.Set(at, "bpf_ksym", "start", start)
	w.Set(at, "bpf_ksym", "end", end)
	copy(w.RAM[at-base+16:], name)
	first, _ := kmem.ReadUint(ctx, w.Space, bpfHead, 8)
	w.Set(at, "bpf_ksym", "lnode.next", first)
	w.Put(bpfHead, at+w.Structs["bpf_ksym.lnode.next"].Offset)
	return at
}

// ops adds a user of ftrace, at the beginning of the list.
func (w *world) ops(flags, trampoline, size uint64) uint64 {
	at := w.Alloc("ftrace_ops", 0)
	first, _ := kmem.ReadUint(ctx, w.Space, opsHead, 8)
	for member, v := range map[string]uint64{"next": first, "flags": flags, "trampoline": trampoline, "trampoline_size": size} {
		w.Set(at, "ftrace_ops", member, v)
	}
	w.Put(opsHead, at)
	return at
}

// page adds a page to one of the lists of kprobes.
func (w *world) page(head, insns uint64) {
	at := w.Alloc("kprobe_insn_page", 0)
	w.Set(at, "kprobe_insn_page", "list.next", head+8)
	w.Set(at, "kprobe_insn_page", "insns", insns)
	w.Put(head+8, at)
}

func TestGeneratedCode(t *testing.T) {
	w := newGeneratingWorld(t, fakeRules{callerAt + 0x20: callRule(24), regsCaller + 0x20: callRule(184), regsCaller + 0x21: callRule(8)})
	w.ksym("bpf_prog_6deef7357e7b4530_x", madeAt, madeAt+0x40)
	w.ksym("bpf_trampoline_6442494414", madeAt+0x40, madeAt+0x100)
	w.ops(1, 0, 0)
	w.ops(1, madeAt+0x1000, 0x100)
	w.ops(1|ftraceSavesRegs, madeAt+0x2000, 0x100)
	w.page(slotsHead, madeAt+0x3000)
	w.page(optHead, madeAt+0x4000)
	for _, tc := range []struct {
		addr uint64
		name string
		rule symbols.FrameRule
	}{
		{madeAt + 0x10, "bpf_prog_6deef7357e7b4530_x+0x10/0x40", symbols.ByFramePointer()},
		{madeAt + 0x41, "bpf_trampoline_6442494414+0x1/0xc0", symbols.ByFramePointer()},
		{madeAt + 0x1020, "ftrace_trampoline+0x20/0x100 [__builtin__ftrace]", callRule(24)},
		{madeAt + 0x2020, "ftrace_trampoline+0x20/0x100 [__builtin__ftrace]", callRule(184)},
		{madeAt + 0x3000, "kprobe_insn_page+0x0/0x1000 [__builtin__kprobes]", symbols.FrameRule{}},
		{
			madeAt + 0x4010, "kprobe_optinsn_page+0x10/0x1000 [__builtin__kprobes]",
			symbols.FrameRule{Kind: symbols.RegsFrame, Base: symbols.RSP, Signal: true},
		},
		{madeAt + 0x100, "", symbols.FrameRule{}},
		{madeAt + 0x5000, "", symbols.FrameRule{}},
		{madeAt - 1, "", symbols.FrameRule{}},
	} {
		if got := w.NameAt(ctx, tc.addr); got != tc.name {
			t.Errorf("%#x is %q, want %q", tc.addr, got, tc.name)
		}
		rule, ok, err := w.generatedRule(ctx, w.debug.(fakeDebug).rules, tc.addr)
		if rule != tc.rule || ok != (tc.rule != symbols.FrameRule{}) || err != nil {
			t.Errorf("%#x: rule %+v, %v, %v; want %+v", tc.addr, rule, ok, err, tc.rule)
		}
	}
	g, err := w.Generated(ctx)
	if err != nil || len(g.All) != 6 || len(g.Damage) > 0 {
		t.Fatalf("%+v, %v", g, err)
	}
	rules, err := g.Rules(ctx, w.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rules {
		got = append(got, fmt.Sprintf("%#x-%#x", r.From-madeAt, r.To-madeAt))
	}
	if want := "0x0-0x40 0x40-0x100 0x1020-0x1021 0x2020-0x2021 0x2021-0x2022 0x4000-0x5000"; strings.Join(got, " ") != want {
		t.Errorf("rules %s, want %s", got, want)
	}
}

// TestGeneratedCodeDamaged wants what is left, and words for what is not.
func TestGeneratedCodeDamaged(t *testing.T) {
	for _, tc := range []struct {
		name  string
		setUp func(w *world)
		left  int
		err   string
	}{
		{"a circle", func(w *world) {
			at := w.ksym("bpf_prog_1", madeAt, madeAt+0x40)
			w.Set(at, "bpf_ksym", "lnode.next", at+w.Structs["bpf_ksym.lnode.next"].Offset)
		}, 1, "no end"},
		{"a break", func(w *world) { w.Set(w.ksym("bpf_prog_1", madeAt, madeAt+0x40), "bpf_ksym", "lnode.next", 0x1234) }, 1, "breaks after 1"},
		{"an invalid head", func(w *world) { w.Put(bpfHead, 0) }, 0, "breaks after 0"},
		{"an end before the start", func(w *world) { w.ksym("bpf_prog_1", madeAt+0x40, madeAt) }, 0, "damaged"},
		{"code in user space", func(w *world) { w.ksym("bpf_prog_1", 0x1000, 0x1040) }, 0, "damaged"},
		{"a huge program", func(w *world) { w.ksym("bpf_prog_1", madeAt, madeAt+1<<24) }, 0, "damaged"},
		{"a name of control characters", func(w *world) { w.ksym("\x1b[2J", madeAt, madeAt+0x40) }, 0, "its name"},
		{"no name", func(w *world) { w.ksym("", madeAt, madeAt+0x40) }, 0, "its name"},
		{"overlapping programs", func(w *world) {
			w.ksym("bpf_prog_1", madeAt, madeAt+0x40)
			w.ksym("bpf_prog_2", madeAt+0x20, madeAt+0x60)
		}, 1, "lies in bpf_prog_1"},
		{"a trampoline that is too long", func(w *world) { w.ops(1, madeAt, 1<<20) }, 0, "damaged"},
		{"users of ftrace in a circle", func(w *world) {
			at := w.ops(1, madeAt, 0x100)
			w.Set(at, "ftrace_ops", "next", at)
		}, 1, "ftrace_ops_list: the list has no end"},
		{"pages that are nowhere", func(w *world) { w.Put(optHead+8, 0x1234) }, 0, "kprobe_optinsn_slots"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newGeneratingWorld(t, nil)
			w.Kernel.Text = textStart
			tc.setUp(w)
			g, err := w.Generated(ctx)
			if err != nil || len(g.All) != tc.left || len(g.Damage) != 1 || !strings.Contains(g.Damage[0].Error(), tc.err) {
				t.Errorf("%d left, %v, %v; want %d, %q", len(g.All), g.Damage, err, tc.left, tc.err)
			}
		})
	}
}

// FuzzGenerated wants no panic and no endless loop of lists that are anything.
func FuzzGenerated(f *testing.F) {
	f.Add([]byte("start end name"), uint64(bpfHead))
	f.Fuzz(func(t *testing.T, data []byte, first uint64) {
		w := newGeneratingWorld(t, nil)
		w.Kernel.Text = textStart
		at := w.Alloc("", 0x4000)
		copy(w.RAM[at-base:], data[:min(len(data), 0x4000)])
		for _, head := range []uint64{bpfHead, opsHead, slotsHead + 8, optHead + 8} {
			w.Put(head, at+first%0x4000)
		}
		g, err := w.Generated(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range g.All {
			if i > 0 && c.Addr < g.All[i-1].Addr+g.All[i-1].Size {
				t.Errorf("%s overlaps what is before it", c.Name)
			}
		}
		if _, err := g.Rules(ctx, w.Kernel); err != nil {
			t.Error(err)
		}
	})
}

// callRule is the rule of a function that keeps its caller's frame n bytes above its RSP.
func callRule(n int64) symbols.FrameRule {
	return symbols.FrameRule{Kind: symbols.CallFrame, Base: symbols.RSP, Offset: n}
}
