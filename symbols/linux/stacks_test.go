package linux

import (
	"slices"
	"testing"
)

// What a CPU rests in is looked for on its stacks one after the other, and must not be another at
// each start.
func TestStackWalkOrder(t *testing.T) {
	const pointer, stacks = base + 0x180000, base + 0x190000
	w := newWorld(t, nil, map[string]uint64{"cea_exception_stacks": pointer})
	w.Structs.Define("cea_exception_stacks", "DF_stack", 4096, "NMI_stack", 4096, "DB_stack", 4096, "MCE_stack", 4096)
	w.Put(pointer, stacks)
	for range 20 {
		cpus := &cpuList{all: make([]CPU, 1)}
		if err := w.readStacks(ctx, cpus); err != nil {
			t.Fatal(err)
		}
		want := []Stack{
			{"#DF", stacks, stacks + 4096}, {"NMI", stacks + 4096, stacks + 8192}, {"#DB", stacks + 8192, stacks + 12288},
			{"#MC", stacks + 12288, stacks + 16384},
		}
		if !slices.Equal(cpus.all[0].Stacks, want) {
			t.Fatalf("%v, want %v", cpus.all[0].Stacks, want)
		}
	}
}

func TestStackName(t *testing.T) {
	w := newTaskWorld(t, nil)
	task := &Task{PID: 5, Stack: w.Alloc("", 0x4000), StackSize: 0x4000}
	irq := w.Alloc("", 0x4000)
	cpu := &CPU{Stacks: []Stack{{"IRQ", irq, irq + 0x4000}, {"NMI", base + 0x200000, base + 0x202000}}}
	w.cpus.Set(&cpuList{all: []CPU{*cpu}})
	for _, tc := range []struct {
		sp   uint64
		want string
	}{
		{task.Stack + 8, "TASK"}, {task.StackEnd(), "TASK"}, {cpu.Stacks[0].Start + 8, "IRQ"}, {cpu.Stacks[0].End, "IRQ"},
		{base + 0x201000, "NMI"}, {base + 0x3fff00, ""}, {0, ""},
	} {
		if got := w.StackName(ctx, task, tc.sp); got != tc.want {
			t.Errorf("%#x: %q, want %q", tc.sp, got, tc.want)
		}
	}
}
