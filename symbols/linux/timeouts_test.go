package linux

import (
	"slices"
	"testing"

	"physgdb/bridge"
	"physgdb/symbols"
)

// timed is a value that records timeouts.
type timed interface{ TimedOut() bool }

// A timeout of any part of the lists must be recorded, or the lists stay incomplete.
func TestTasksAndCPUsRecordTimeouts(t *testing.T) {
	const stackPointer = 0x2000 // per-CPU
	cpus := func(w *taskWorld) (timed, error) { return w.cpus.Get(ctx, w.readCPUs) }
	tasks := func(w *taskWorld) (timed, error) { return w.Kernel.Tasks(ctx) }
	noTree := func(w *taskWorld) { w.Put(initPIDNS, 0xdead000000000102) }
	pid := func(w *taskWorld, task uint64) uint64 { return task + w.Structs["task_struct.pid"].Offset }
	for _, tc := range []struct {
		name   string
		get    func(w *taskWorld) (timed, error)
		silent func(w *taskWorld) uint64 // an address that does not answer
	}{
		{"where a CPU's stack for interrupts is", cpus, func(*taskWorld) uint64 { return cpu1 + stackPointer }},
		{"what a CPU ran", tasks, func(*taskWorld) uint64 { return cpu1 + runQueues }},
		{"an idle task", tasks, func(w *taskWorld) uint64 {
			idle := w.Alloc("task_struct", 0)
			w.Put(cpu1+runQueues, initTask, idle)
			return pid(w, idle)
		}},
		{"a task that a CPU ran", tasks, func(w *taskWorld) uint64 {
			task := w.Alloc("task_struct", 0)
			w.Put(cpu1+runQueues, task, 0)
			return pid(w, task)
		}},
		{"a process of the list", tasks, func(w *taskWorld) uint64 {
			noTree(w)
			return pid(w, w.tasks[5])
		}},
		{"a thread of the list", tasks, func(w *taskWorld) uint64 {
			noTree(w)
			return pid(w, w.tasks[6])
		}},
	} {
		for _, why := range []error{nil, bridge.ErrTimeout, bridge.ErrNotRAM} {
			w := newTaskWorld(t, nil)
			w.add(5, 5)
			w.add(6, 5)
			w.Structs["irq_stack"] = symbols.Field{Size: 0x4000}
			w.Symbols = symbols.NewTable(append(slices.Collect(w.Symbols.All()),
				symbols.Symbol{Name: "hardirq_stack_ptr", Addr: stackPointer}), nil)
			if at := tc.silent(w); why != nil {
				w.Fake.Fail(bridge.PhysAddr(at-base), 4, why)
			}
			list, err := tc.get(w)
			if silent := why == bridge.ErrTimeout; err != nil || list.TimedOut() != silent {
				t.Errorf("%s: %v: to be read again: %v, %v", tc.name, why, list.TimedOut(), err)
			}
		}
	}
}
