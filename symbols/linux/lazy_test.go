package linux

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"physgdb/bridge"
	"physgdb/symbols"
)

func TestWhatWasNotAnsweredIsAskedAgain(t *testing.T) {
	var l lazy[*Modules]
	reads := 0
	get := func(missing bool, err error) (int, error) {
		ms, err := l.get(ctx, func(context.Context) (*Modules, error) {
			reads++
			return &Modules{All: make([]*Module, reads), answers: answers{missing}}, err
		})
		if ms == nil {
			return 0, err
		}
		return len(ms.All), err
	}
	awhile := func() { l.again = l.again.Add(-2 * askAgain) }
	broken := errors.New("broken")
	for _, step := range []struct {
		name    string
		before  func()
		missing bool
		fails   error
		want    int // which read the value is of
		reads   int
	}{
		{"it fails", func() {}, false, broken, 1, 1},
		{"a part is missing", func() {}, true, nil, 2, 2},
		{"that holds for a moment", func() {}, false, nil, 2, 2},
		{"a part is missing again", awhile, true, nil, 3, 3},
		{"it fails, and there is something", awhile, false, broken, 3, 4},
		{"that holds as well", func() {}, false, nil, 3, 4},
		{"all is there", awhile, false, nil, 5, 5},
		{"that lasts", func() {}, true, nil, 5, 5},
	} {
		step.before()
		got, err := get(step.missing, step.fails)
		if got != step.want || reads != step.reads || (err != nil) != (step.name == "it fails") {
			t.Errorf("%s: that of read %d, %v, after %d reads; want %d after %d", step.name, got, err, reads, step.want, step.reads)
		}
	}
	if !l.again.IsZero() {
		t.Error("what is whole is to be read again at", l.again.Format(time.TimeOnly))
	}
}

func TestListsTellWhatWasNotAnswered(t *testing.T) {
	for _, why := range []error{bridge.ErrTimeout, bridge.ErrNotRAM} {
		w := newModuleWorld(t, false)
		w.load("a")
		w.load("b")
		w.fake.Fail(bridge.PhysAddr(w.node("a")-base), 8, why)
		ms, err := w.Modules(ctx)
		if err != nil || len(ms.Damage) == 0 {
			t.Fatalf("%v: %+v, %v", why, ms, err)
		}
		if silent := why == bridge.ErrTimeout; ms.unanswered() != silent || w.Kernel.modules.again.IsZero() == silent {
			t.Errorf("%v: to be asked again: %v", why, ms.unanswered())
		}
	}
}

// Every part that a list of CPUs or tasks is made of must tell that it was not answered, or the list stays without it.
func TestTasksAndCPUsTellWhatWasNotAnswered(t *testing.T) {
	const stackPointer = 0x2000 // per-CPU
	cpus := func(w *taskWorld) (partial, error) { return w.cpus.get(ctx, w.readCPUs) }
	tasks := func(w *taskWorld) (partial, error) { return w.Kernel.Tasks(ctx) }
	noTree := func(w *taskWorld) { w.put(initPIDNS, 0xdead000000000102) }
	pid := func(w *taskWorld, task uint64) uint64 { return task + w.types["task_struct.pid"].Offset }
	for _, tc := range []struct {
		name   string
		get    func(w *taskWorld) (partial, error)
		silent func(w *taskWorld) uint64 // an address that does not answer
	}{
		{"where a CPU's stack for interrupts is", cpus, func(*taskWorld) uint64 { return cpu1 + stackPointer }},
		{"what a CPU ran", tasks, func(*taskWorld) uint64 { return cpu1 + runQueues }},
		{"an idle task", tasks, func(w *taskWorld) uint64 {
			idle := w.alloc("task_struct", 0)
			w.put(cpu1+runQueues, initTask, idle)
			return pid(w, idle)
		}},
		{"a task that a CPU ran", tasks, func(w *taskWorld) uint64 {
			task := w.alloc("task_struct", 0)
			w.put(cpu1+runQueues, task, 0)
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
			w.types["irq_stack"] = symbols.Field{Size: 0x4000}
			w.Symbols = symbols.NewTable(append(slices.Collect(w.Symbols.All()),
				symbols.Symbol{Name: "hardirq_stack_ptr", Addr: stackPointer}), nil)
			if at := tc.silent(w); why != nil {
				w.fake.Fail(bridge.PhysAddr(at-base), 4, why)
			}
			list, err := tc.get(w)
			if silent := why == bridge.ErrTimeout; err != nil || list.unanswered() != silent {
				t.Errorf("%s: %v: to be asked again: %v, %v", tc.name, why, list.unanswered(), err)
			}
		}
	}
}

func TestNobodyWaitsForAnotherLongerThanHeMay(t *testing.T) {
	var l lazy[int]
	begun, finish, ended := make(chan struct{}), make(chan struct{}), make(chan error, 2)
	slow := func(context.Context) (int, error) {
		close(begun)
		<-finish
		return 0, errors.New("given up")
	}
	go func() {
		_, err := l.get(ctx, slow)
		ended <- err
	}()
	<-begun
	hurried, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := l.get(hurried, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("who may not wait: %v", err)
	}
	patient := make(chan int)
	go func() {
		v, err := l.get(ctx, func(context.Context) (int, error) { return 7, nil })
		ended <- err
		patient <- v
	}()
	close(finish)
	if v := <-patient; v != 7 {
		t.Errorf("who waited, and read it himself then: %d", v)
	}
	if first, second := <-ended, <-ended; (first == nil) == (second == nil) {
		t.Errorf("%v, %v", first, second)
	}
}

func TestWhatThereIsHoldsWhileItIsReadAgain(t *testing.T) {
	l := lazy[int]{done: true, value: 1, again: time.Now().Add(-time.Second)}
	v, err := l.get(ctx, func(context.Context) (int, error) {
		if v, err := l.get(ctx, nil); v != 1 || err != nil {
			t.Errorf("meanwhile: %d, %v", v, err)
		}
		return 2, nil
	})
	if v != 2 || err != nil {
		t.Errorf("then: %d, %v", v, err)
	}
}

func TestPanicOfOneStopsNobodyElse(t *testing.T) {
	var l lazy[int]
	func() {
		defer func() { _ = recover() }()
		_, _ = l.get(ctx, func(context.Context) (int, error) { panic("a fault") })
	}()
	if v, err := l.get(ctx, func(context.Context) (int, error) { return 3, nil }); v != 3 || err != nil {
		t.Errorf("%d, %v", v, err)
	}
}
