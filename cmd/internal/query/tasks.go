package query

import (
	"cmp"
	"context"
	"math"
	"slices"

	"physgdb/cmd/internal/machine"
	"physgdb/symbols/linux"
)

// Task is a task of the machine.
type Task struct {
	PID     int     `json:"pid"` // of its process
	TID     int     `json:"tid"`
	PPID    int     `json:"ppid"`
	State   string  `json:"state"`   // a letter, as ps prints it
	CPU     int     `json:"cpu"`     // that it runs on, or ran on last
	Running bool    `json:"running"` // it was running when the machine died
	Kind    string  `json:"kind"`    // user, kernel or idle
	Comm    string  `json:"comm"`
	Task    Address `json:"task"` // of its task_struct
}

// Tasks returns the tasks that words name, see [pick], or all: the threads of a process follow one
// another, idle tasks are last.
func Tasks(ctx context.Context, m *machine.Machine, words []string) ([]Task, error) {
	list, err := m.Kernel.Tasks(ctx)
	if err != nil {
		return nil, err
	}
	onCPU, err := running(ctx, m)
	if err != nil {
		return nil, err
	}
	picked, missing := pick(list, words)
	var tasks []Task
	for _, t := range byProcess(picked) {
		tasks = append(tasks, newTask(t, onCPU[t.Addr] != nil))
	}
	return tasks, notFound(missing, damage(list.Damage))
}

// byProcess puts the threads of a process next to each other. The idle tasks, whose pid is 0, are
// last.
func byProcess(tasks []*linux.Task) []*linux.Task {
	rank := func(t *linux.Task) int {
		if t.Idle {
			return math.MaxInt
		}
		return t.TGID
	}
	return slices.SortedStableFunc(slices.Values(tasks), func(a, b *linux.Task) int { return cmp.Compare(rank(a), rank(b)) })
}

func newTask(t *linux.Task, running bool) Task {
	return Task{
		PID: t.TGID, TID: t.PID, PPID: t.Parent, State: string(t.Letter()), CPU: t.CPU, Running: running, Kind: kind(t),
		Comm: t.Comm, Task: Address(t.Addr),
	}
}

// kind returns which sort of task it is.
func kind(t *linux.Task) string {
	switch {
	case t.Idle:
		return "idle"
	case t.Kernel:
		return "kernel"
	}
	return "user"
}
