package unwind

import (
	"errors"
	"testing"

	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/test/linuxtest"
)

// newSleeper makes a task that does not run.
func newSleeper(t *testing.T) (w *world, task *linux.Task) {
	w = newWorld(t, nil, nil)
	linuxtest.DefineRegisters(w.Structs)
	return w, &linux.Task{PID: 5, Stack: w.Alloc("", 0x4000), StackSize: 0x4000}
}

// TestDamagedTaskStacks reads the registers of tasks whose stacks are not where they should be.
func TestDamagedTaskStacks(t *testing.T) {
	w, task := newSleeper(t)
	for _, task.SP = range []uint64{0, 0xdead000000000100, base, ^uint64(0)} {
		if regs, err := w.switchedOut(ctx, task); err == nil {
			t.Errorf("SP %#x: %+v", task.SP, regs)
		}
	}
}

// TestSwitchedOut reads the registers of a task that gave up the CPU.
func TestSwitchedOut(t *testing.T) {
	w, task := newSleeper(t)
	sp := task.Stack + 0x3f00
	task.SP = sp
	w.Put(sp, 15, 14, 13, 12, 3, 6, 0xffffffff81000123)
	regs, err := w.switchedOut(ctx, task)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]uint64{"rbx": 3, "rbp": 6, "rsp": sp + 56, "r12": 12, "r13": 13, "r14": 14, "r15": 15,
		"rip": 0xffffffff81000123}
	names := []string{"rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
		"r15", "rip"}
	for number, name := range names {
		v, ok := regs.Get(symbols.Reg(number))
		if wantV, wanted := want[name]; ok != wanted || v != wantV {
			t.Errorf("%s = %#x, %v; want %#x, %v", name, v, ok, wantV, wanted)
		}
	}
	if regs.Exact || regs.User() {
		t.Errorf("%+v", regs)
	}
}

// TestRegistersOfOfflineCPU reads the registers of idle tasks.
func TestRegistersOfOfflineCPU(t *testing.T) {
	const count, mask, offsets, queue, state = base + 0x180000, base + 0x181000, base + 0x182000, base + 0x183000, base + 0x184000
	const up = 235
	for _, offline := range []bool{false, true} {
		w := newWorld(t, nil, map[string]uint64{
			"nr_cpu_ids": count, "__cpu_possible_mask": mask, "__per_cpu_offset": offsets, "runqueues": queue, "cpuhp_state": state,
		})
		linuxtest.DefineRegisters(w.Structs)
		w.Structs.Define("rq", "curr", "idle")
		w.Structs.Define("cpuhp_cpu_state", "state")
		idle := &linux.Task{Addr: w.Alloc("", 0x1000), Stack: w.Alloc("", 0x4000), StackSize: 0x4000}
		w.Put(count, 1)
		w.Put(mask, 1)
		w.Put(queue, idle.Addr, idle.Addr)
		if !offline {
			w.Put(state, up)
		}
		if _, err := w.Registers(ctx, idle); err == nil || errors.Is(err, ErrOffline) != offline {
			t.Errorf("offline %v: %v", offline, err)
		}
	}
}
