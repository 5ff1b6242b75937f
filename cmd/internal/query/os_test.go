package query

import (
	"slices"
	"testing"

	"physgdb/symbols/linux"
)

func TestProcessesWithoutTheirFirstThreadHaveFiles(t *testing.T) {
	const exited = 0x80 // TASK_DEAD, include/linux/sched.h
	list := &linux.TaskList{All: []*linux.Task{
		{PID: 1, TGID: 1}, {PID: 2, TGID: 2, Kernel: true}, {PID: 5, TGID: 5, State: exited}, {PID: 6, TGID: 5}, {PID: 7, TGID: 5},
		{PID: 8, TGID: 8, State: exited}, {PID: 9, TGID: 1}, {Idle: true},
	}}
	var got []int
	for _, task := range onePerProcess(list) {
		got = append(got, task.PID)
	}
	if want := []int{1, 6}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
