package query

import (
	"context"

	"physgdb/cmd/internal/machine"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/vfs"
)

// Process is a process of the machine.
type Process struct {
	PID  int
	UID  int // -1 if not known
	Comm string
	CPUs []int // of its threads, on which they run or ran last
}

// Processes returns the processes of the machine.
func Processes(ctx context.Context, m *machine.Machine) ([]Process, error) {
	list, err := m.Kernel.Tasks(ctx)
	if err != nil {
		return nil, err
	}
	var leaders []*linux.Task
	cpus := map[int][]int{} // by tgid
	for _, t := range list.All {
		if t.Idle {
			continue
		}
		if t.PID == t.TGID {
			leaders = append(leaders, t)
		}
		cpus[t.TGID] = append(cpus[t.TGID], t.CPU)
	}
	uids, err := m.Kernel.UIDs(ctx, leaders)
	if err != nil {
		return nil, err
	}
	processes := make([]Process, len(leaders))
	for i, t := range leaders {
		processes[i] = Process{t.PID, uids[i], t.Comm, cpus[t.TGID]}
	}
	return processes, nil
}

// Threads returns the tasks of the machine in the order of the kernel's list. Task.Running is not
// set.
func Threads(ctx context.Context, m *machine.Machine) ([]Task, error) {
	list, err := m.Kernel.Tasks(ctx)
	if err != nil {
		return nil, err
	}
	tasks := make([]Task, len(list.All))
	for i, t := range list.All {
		tasks[i] = newTask(t, false)
	}
	return tasks, nil
}

// OpenFile is a file that a process has open.
type OpenFile struct {
	PID  int
	Comm string
	FD   int
	Name string
}

// OpenFiles returns the open files of all processes.
func OpenFiles(ctx context.Context, m *machine.Machine) ([]OpenFile, error) {
	list, err := m.Kernel.Tasks(ctx)
	if err != nil {
		return nil, err
	}
	tasks := onePerProcess(list)
	files, places, err := vfs.OpenFiles(ctx, m.Kernel, tasks)
	if err != nil {
		return nil, err
	}
	var all []OpenFile
	for i, t := range tasks {
		for _, f := range files[i] {
			all = append(all, OpenFile{t.TGID, t.Comm, f.FD, f.Name})
		}
	}
	return all, machine.NewDamageError("open files", places)
}

// onePerProcess returns one task of each process: the first that has not exited, because other
// threads may outlive the leader.
func onePerProcess(list *linux.TaskList) []*linux.Task {
	var tasks []*linux.Task
	seen := map[int]bool{}
	for _, t := range list.All {
		if t.Idle || t.Kernel || t.Exited() || seen[t.TGID] {
			continue
		}
		seen[t.TGID] = true
		tasks = append(tasks, t)
	}
	return tasks
}
