package target

import (
	"context"
	"testing"
	"time"

	"physgdb/gdbstub"
	"physgdb/symbols/linux"
)

func TestThreadsHaveNumbersOfTheirOwn(t *testing.T) {
	var all []thread
	for _, task := range []*linux.Task{
		{PID: 1}, {PID: 7}, {PID: 7}, {PID: 0, Idle: true, CPU: 0}, {PID: 0, Idle: true, CPU: 3}, {PID: 0, Idle: true, CPU: 3}, {PID: -1},
	} {
		all = append(all, thread{task: task, Thread: gdbstub.Thread{ID: taskThread(task)}})
	}
	var got []gdbstub.ThreadID
	for _, th := range distinct(all) {
		got = append(got, th.ID)
	}
	want := []gdbstub.ThreadID{1, 7, idleThread, idleThread + 3}
	if len(got) != len(want) {
		t.Fatalf("threads %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("threads %v, want %v", got, want)
		}
	}
}

func TestThreadsAreInTheOrderOfInterest(t *testing.T) {
	for _, tc := range []struct {
		name string
		th   thread
		want int
	}{
		{"what panicked", thread{dead: true, task: &linux.Task{Idle: true}}, 0},
		{"what was running", thread{task: &linux.Task{OnCPU: true}}, 1},
		{"what slept", thread{task: &linux.Task{}}, 2},
		{"what is not known", thread{}, 2},
		{"idle tasks", thread{task: &linux.Task{Idle: true, OnCPU: true}}, 3},
	} {
		if got := tc.th.rank(); got != tc.want {
			t.Errorf("%s: rank %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestTaskText(t *testing.T) {
	for want, tc := range map[string]struct {
		task    *linux.Task
		running bool
	}{
		"S on CPU 1":                {&linux.Task{PID: 5, TGID: 5, State: linux.Interruptible, CPU: 1}, false},
		"D on CPU 0, of 5":          {&linux.Task{PID: 6, TGID: 5, State: linux.Uninterruptible}, false},
		"running on CPU 2, kernel":  {&linux.Task{PID: 2, TGID: 2, CPU: 2, Kernel: true}, true},
		"R on CPU 3, idle":          {&linux.Task{CPU: 3, Idle: true, Kernel: true}, false},
		"running on CPU 0, of 1000": {&linux.Task{PID: 1001, TGID: 1000}, true},
	} {
		if got := taskText(tc.task, tc.running); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestBackgroundEnds(t *testing.T) {
	var none background
	none.stop() // which has nothing to stop
	var b background
	ended := false
	b.start(func(ctx context.Context) {
		<-ctx.Done()
		ended = true
	})
	begin := time.Now()
	b.wait(t.Context(), 10*time.Millisecond)
	b.stop()
	if took := time.Since(begin); !ended || took > 5*time.Second {
		t.Errorf("ended: %v, after %v", ended, took)
	}
}
