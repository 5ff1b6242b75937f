package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"physgdb/symbols/linux"
	"physgdb/test/rig"
)

// crew is some tasks of a machine, by pid.
func crew() *linux.TaskList {
	return &linux.TaskList{All: []*linux.Task{
		{Addr: 0xffff888003a40000, PID: 1, TGID: 1, Comm: "init", State: linux.Interruptible, CPU: 1},
		{Addr: 0xffff888003a41000, PID: 2, TGID: 2, Comm: "kthreadd", State: linux.Interruptible, Kernel: true},
		{Addr: 0xffff888003a42000, PID: 9, TGID: 9, Parent: 2, Comm: "kworker/0:1", State: 0x402, Kernel: true},
		{Addr: 0xffff888003a43000, PID: 143, TGID: 143, Parent: 1, Comm: "nginx", State: linux.Uninterruptible},
		{Addr: 0xffff888003a44000, PID: 144, TGID: 144, Parent: 1, Comm: "evil\x1b[2J", CPU: 1},
		{Addr: 0xffff888003a45000, PID: 145, TGID: 143, Parent: 1, Comm: "nginx"},
		{Addr: 0xffffffff82a10000, Comm: "swapper/0", Kernel: true, Idle: true},
	}}
}

func TestNotFound(t *testing.T) {
	missing, damage := errors.New("there is no x"), errors.New("the list is incomplete")
	for _, tc := range []struct {
		missing, damage error
		want            string
	}{
		{nil, nil, "<nil>"}, {missing, nil, "there is no x"}, {nil, damage, "the list is incomplete"},
		{missing, damage, "there is no x, or it was lost: the list is incomplete"},
	} {
		if got := fmt.Sprint(notFound(tc.missing, tc.damage)); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}

func TestPick(t *testing.T) {
	for _, tc := range []struct {
		name, words string
		want        []int // task ids
		err         string
	}{
		{"everything", "", []int{1, 2, 9, 143, 144, 145, 0}, ""},
		{"a process", "143", []int{143, 145}, ""},
		{"a thread", "145", []int{145}, ""},
		{"a name", "nginx", []int{143, 145}, ""},
		{"names that begin alike", "kworker/*", []int{9}, ""},
		{"names that end alike", "*d", []int{2}, ""},
		{"any name", "*", []int{1, 2, 9, 143, 144, 145, 0}, ""},
		{"the idle tasks", "0", []int{0}, ""},
		{"each once", "145 nginx 143", []int{145, 143}, ""},
		{"nothing", "cron", nil, `there is no task "cron"`},
		{"something and nothing", "7 init", []int{1}, `there is no task "7"`},
		{"nothing twice", "cron 7", nil, `there is no task "cron", "7" (see ps)`},
		{"a part of a name is no name", "kworker", nil, "there is no task"},
		{"a * matches no negative length", "ini*it", nil, "there is no task"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tasks, err := pick(crew(), strings.Fields(tc.words))
			var got []int
			for _, task := range tasks {
				got = append(got, task.PID)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("picks %v, want %v", got, tc.want)
			}
			if tc.err != "" {
				rig.WantError(t, err, tc.err)
			} else {
				rig.Must(t, err)
			}
		})
	}
}

func TestIdleTasksStayLast(t *testing.T) {
	tasks := []*linux.Task{{Idle: true}, {PID: 2, TGID: 2}, {PID: 1, TGID: 1}, {PID: 3, TGID: 1}}
	var got []int
	for _, t := range byProcess(tasks) {
		got = append(got, t.PID)
	}
	if want := []int{1, 3, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestTasksAsJSON(t *testing.T) {
	task := crew().All[5]
	got, err := json.Marshal(newTask(task, true))
	rig.Must(t, err)
	const want = `{"pid":143,"tid":145,"ppid":1,"state":"R","cpu":0,"running":true,"kind":"user","comm":"nginx",` +
		`"task":"0xffff888003a45000"}`
	if string(got) != want {
		t.Errorf("%s, want\n%s", got, want)
	}
}
