package unwind

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"physgdb/bridge"
	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/test/linuxtest"
)

// Functions of these tests' kernel, by their addresses.
const (
	fnPanic  = base + 0x1a0000
	fnStop   = base + 0x1a1000
	fnCaller = base + 0x1a2000
)

// restingWorld is a kernel whose CPU 0 rests where a test puts it. The task that it ran has a
// stack, and so have its interrupts.
func restingWorld(t *testing.T) (w *world, task *linux.Task, cpu *linux.CPU) {
	t.Helper()
	rules := fakeRules{}
	byRBP := symbols.FrameRule{Kind: symbols.CallFrame, Base: symbols.RBP, Offset: 16}
	for at := uint64(0); at < 0x100; at++ {
		rules[fnPanic+at] = byRBP
		rules[fnStop+at] = call(16)
		rules[fnCaller+at] = last()
	}
	w = newWorld(t, rules, nil)
	linuxtest.DefineRegisters(w.Structs)
	w.Symbols = symbols.NewTable([]symbols.Symbol{
		{Name: "panic", Addr: fnPanic, Size: 0x100, Func: true}, {Name: "stop_this_cpu", Addr: fnStop, Size: 0x100, Func: true},
		{Name: "crash_notes", Addr: base + 0x189000}, {Name: "die_counter", Addr: base + 0x18a000},
		{Name: "exec_summary_regs", Addr: base + 0x18b000},
	}, nil)
	task = &linux.Task{PID: 5, Stack: w.Alloc("", 0x4000), StackSize: 0x4000}
	irq := w.Alloc("", 0x4000)
	cpu = &linux.CPU{ID: 0, Base: 0, Stacks: []linux.Stack{{Name: "IRQ", Start: irq, End: irq + 0x4000}}}
	return w, task, cpu
}

// putCall writes a direct call of a function that returns to an address.
func (w *world) putCall(ret, function uint64) {
	w.RAM[ret-5-base] = 0xe8
	binary.LittleEndian.PutUint32(w.RAM[ret-4-base:], uint32(function-ret))
}

func TestResting(t *testing.T) {
	const inPanic, inStop, afterCall = fnPanic + 0x40, fnStop + 0x20, fnCaller + 0x30
	panicAt := func(w *world, sp uint64) { // panic() called something, and had pushed RBP above 4 words of its own
		w.Put(sp-8, inPanic)
		w.Put(sp+32, 0x1234, afterCall)
		w.putCall(afterCall, fnPanic)
	}
	for _, tc := range []struct {
		name string
		put  func(w *world, task *linux.Task, cpu *linux.CPU)
		pc   uint64
		sp   func(task *linux.Task, cpu *linux.CPU) uint64
		bp   uint64 // above sp; 0 for none
	}{
		{"nowhere", func(*world, *linux.Task, *linux.CPU) {}, 0, nil, 0},
		{"in panic() on the task's stack", func(w *world, task *linux.Task, _ *linux.CPU) { panicAt(w, task.Stack+0x3000) },
			inPanic, func(task *linux.Task, _ *linux.CPU) uint64 { return task.Stack + 0x3000 }, 32},
		{"in panic() in an interrupt", func(w *world, _ *linux.Task, cpu *linux.CPU) { panicAt(w, cpu.Stacks[0].Start+0x800) },
			inPanic, func(_ *linux.Task, cpu *linux.CPU) uint64 { return cpu.Stacks[0].Start + 0x800 }, 32},
		{"stopped", func(w *world, _ *linux.Task, cpu *linux.CPU) { w.Put(cpu.Stacks[0].Start+0x100, inStop, 0, afterCall) },
			inStop, func(_ *linux.Task, cpu *linux.CPU) uint64 { return cpu.Stacks[0].Start + 0x108 }, 0},
		{"next to words of earlier calls", func(w *world, task *linux.Task, cpu *linux.CPU) {
			panicAt(w, task.Stack+0x3000)
			w.Put(task.Stack+0x100, inPanic)
			w.Put(task.Stack+0x3800, inPanic) // not after a call
		}, inPanic, func(task *linux.Task, _ *linux.CPU) uint64 { return task.Stack + 0x3000 }, 32},
		{"where the tables do not reach the end", func(w *world, task *linux.Task, cpu *linux.CPU) {
			w.Put(cpu.Stacks[0].Start+0x100, inStop, 0, 0xffffffffc0001234)
		}, inStop, func(_ *linux.Task, cpu *linux.CPU) uint64 { return cpu.Stacks[0].Start + 0x108 }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, task, cpu := restingWorld(t)
			tc.put(w, task, cpu)
			regs, err := w.Resting(ctx, cpu, task)
			if err != nil {
				t.Fatal(err)
			}
			if tc.pc == 0 {
				if regs != nil {
					t.Errorf("%+v", regs)
				}
				return
			}
			if regs == nil || regs.PC() != tc.pc || regs.SP() != tc.sp(task, cpu) {
				t.Fatalf("%+v; want RIP %#x, RSP %#x", regs, tc.pc, tc.sp(task, cpu))
			}
			if bp, ok := regs.Get(symbols.RBP); ok != (tc.bp != 0) || ok && bp != regs.SP()+tc.bp {
				t.Errorf("RBP %#x, %v", bp, ok)
			}
		})
	}
}

func TestRestingReturnsAddressOfCall(t *testing.T) {
	w, task, cpu := restingWorld(t)
	w.Put(task.Stack+0x100, fnStop+0x20, 0, fnCaller+0x30)
	w.putCall(fnStop+0x20, fnCaller)
	regs, err := w.Resting(ctx, cpu, task)
	if err != nil || regs == nil || regs.PC() != fnStop+0x1b || !regs.Exact || regs.SP() != task.Stack+0x108 {
		t.Errorf("%+v, %v", regs, err)
	}
}

// putNote writes a crash note whose registers are numbers from first on.
func (w *world) putNote(at, first uint64) {
	le := binary.LittleEndian
	note := w.RAM[at-base:]
	le.PutUint32(note, 5)
	le.PutUint32(note[4:], 336)
	le.PutUint32(note[8:], 1)
	copy(note[12:], "CORE\x00")
	for i := range uint64(27) {
		le.PutUint64(note[12+8+112+8*i:], first+i)
	}
}

// TestCrashNoteWithoutCaller has a note of a place whose caller cannot be found, as 6.1 has it of
// __crash_kexec().
func TestCrashNoteWithoutCaller(t *testing.T) {
	w, task, cpu := restingWorld(t)
	notes := w.Alloc("", 0x1000)
	w.Put(base+0x189000, notes)
	const rip = fnStop + 0x200 // no rule covers it
	w.putNote(notes, rip-16)
	regs, err := w.noteOrResting(ctx, cpu, task)
	if err != nil || regs == nil || regs.PC() != rip {
		t.Errorf("nothing else is known: %+v, %v", regs, err)
	}
	w.Put(task.Stack+0x100, fnStop+0x20, 0, fnCaller+0x30)
	regs, err = w.noteOrResting(ctx, cpu, task)
	if err != nil || regs == nil || regs.PC() != fnStop+0x20 {
		t.Errorf("the CPU rests: %+v, %v", regs, err)
	}
	w.putNote(notes, fnCaller+0x10-16)
	regs, err = w.noteOrResting(ctx, cpu, task)
	if err != nil || regs == nil || regs.PC() != fnCaller+0x10 {
		t.Errorf("the note leads to the end of the stack: %+v, %v", regs, err)
	}
}

func TestCrashNotes(t *testing.T) {
	w, task, cpu := restingWorld(t)
	notes := w.Alloc("", 0x1000)
	w.Put(base+0x189000, notes)
	w.putNote(notes, 1)
	clear(w.RAM[notes-base:][:20])
	if regs, err := w.crashNote(ctx, cpu, task); regs != nil || err != nil {
		t.Errorf("an empty note: %+v, %v", regs, err)
	}
	w.putNote(notes, 1)
	regs, err := w.crashNote(ctx, cpu, task)
	if err != nil || regs == nil {
		t.Fatal(regs, err)
	}
	// struct user_regs_struct: r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs
	// flags sp ss …
	for reg, want := range map[symbols.Reg]uint64{symbols.R15: 1, symbols.RBP: 5, symbols.RAX: 11, symbols.RDI: 15,
		symbols.RIP: 17, symbols.RSP: 20} {
		if v, ok := regs.Get(reg); !ok || v != want {
			t.Errorf("register %d: %d, %v; want %d", reg, v, ok, want)
		}
	}
	if regs.CS != 18 || regs.Flags != 19 || regs.SS != 21 {
		t.Errorf("%+v", regs)
	}
}

func TestOopsOnOtherStack(t *testing.T) {
	w, task, cpu := restingWorld(t)
	put := func(sp, cs uint64) {
		w.Set(base+0x18b000, "pt_regs", "ip", 0xffffffff81000777)
		w.Set(base+0x18b000, "pt_regs", "sp", sp)
		w.Set(base+0x18b000, "pt_regs", "cs", cs)
	}
	for _, tc := range []struct {
		name          string
		count, sp, cs uint64
		want          bool
	}{
		{"on the task's stack", 1, task.Stack + 0x3000, 0x10, true},
		{"in an interrupt", 1, cpu.Stacks[0].Start + 0x10, 0x10, true},
		{"no oops", 0, task.Stack + 0x3000, 0x10, false},
		{"elsewhere", 1, base + 0x3f0000, 0x10, false},
		{"of user space", 1, task.Stack + 0x3000, 0x33, false},
	} {
		w.Put(base+0x18a000, tc.count)
		put(tc.sp, tc.cs)
		regs, err := w.oopsed(ctx, cpu, task)
		if err != nil || (regs != nil) != tc.want || regs != nil && regs.PC() != 0xffffffff81000777 {
			t.Errorf("%s: %+v, %v", tc.name, regs, err)
		}
	}
}

func TestUnknownRegistersReportReadErrors(t *testing.T) {
	for _, tc := range []struct {
		why  error
		want string
	}{
		{nil, "left no trace"}, {bridge.ErrTimeout, "cannot be read"}, {bridge.ErrNotRAM, "cannot be read"},
	} {
		w, task, cpu := restingWorld(t)
		if tc.why != nil {
			w.Fake.Fail(bridge.PhysAddr(task.Stack-base)+0x2000, 8, tc.why)
		}
		if regs, err := w.running(ctx, cpu, task); regs != nil || err == nil || !strings.Contains(err.Error(), tc.want) ||
			tc.why != nil && !errors.Is(err, tc.why) {
			t.Errorf("%v: %+v, %v", tc.why, regs, err)
		}
	}
}

func TestOopsOnReusedStack(t *testing.T) {
	for _, tc := range []struct {
		name   string
		pc, sp uint64 // of the oops; sp above the stack's start
		caller uint64 // of the function in which the CPU rests
		want   bool
	}{
		{"the CPU came to rest below the oops", fnCaller + 0x30, 0x3018, fnCaller + 0x30, true},
		{"the stack is reused", 0xffffffff81000777, 0x3100, fnCaller + 0x30, false},
		{"the stack was that of another task", fnCaller + 0x30, 0x3020, fnCaller + 0x30, false},
		{"the caller is unknown", 0xffffffff81000777, 0x3100, 0xffffffffc0001234, true},
	} {
		w, task, cpu := restingWorld(t)
		w.Put(base+0x18a000, 1)
		w.Put(task.Stack+0x3000, fnStop+0x20, 0, tc.caller)
		w.Set(base+0x18b000, "pt_regs", "ip", tc.pc)
		w.Set(base+0x18b000, "pt_regs", "sp", task.Stack+tc.sp)
		w.Set(base+0x18b000, "pt_regs", "cs", 0x10)
		regs, err := w.oopsed(ctx, cpu, task)
		if err != nil || (regs != nil) != tc.want {
			t.Errorf("%s: %+v, %v", tc.name, regs, err)
		}
	}
}

// TestRestingWithoutSizes finds where a CPU rests when the addresses of functions are known, but
// not their sizes: a return address counts if its caller called that very function.
func TestRestingWithoutSizes(t *testing.T) {
	const inStop, afterCall = fnStop + 0x20, fnCaller + 0x30
	for name, called := range map[string]uint64{"stop_this_cpu": fnStop, "": fnPanic} {
		w, task, cpu := restingWorld(t)
		k, err := w.WithSymbols(ctx, map[string]uint64{"panic": fnPanic, "stop_this_cpu": fnStop, "far": fnPanic + 0x100000})
		if err != nil {
			t.Fatal(err)
		}
		w.use(k)
		w.Put(cpu.Stacks[0].Start+0x100, inStop, 0, afterCall)
		w.putCall(afterCall, called)
		regs, err := w.Resting(ctx, cpu, task)
		if err != nil {
			t.Fatal(err)
		}
		if (regs != nil) != (name != "") || regs != nil && regs.From != "the function in which the CPU rests, "+name {
			t.Errorf("where %#x was called: %+v", called, regs)
		}
	}
}
