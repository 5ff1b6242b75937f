package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"physgdb/symbols/linux/kmem"
)

// Task is a thread of a process, or of the kernel itself.
type Task struct {
	Addr      uint64 // virtual, of its task_struct
	PID, TGID int    // in the initial pid namespace; 0 for idle tasks
	Parent    int    // tgid of its parent, 0 if it has none
	Comm      string // its name, at most 15 arbitrary bytes
	State     State
	CPU       int  // that it ran on last
	OnCPU     bool // it was running
	Kernel    bool // a kernel thread, without user space
	Idle      bool // the idle task of a CPU
	Stack     uint64
	SP        uint64 // thread_struct.sp: the kernel stack pointer of a task that does not run
	FSBase    uint64
	GSBase    uint64 // of user space
	MM        uint64 // virtual, of its mm_struct, or 0
	Files     uint64 // virtual, of its struct files_struct, or 0
	exitState uint64
	StackSize uint64 // bytes
	cred      uint64 // virtual, of its struct cred
}

// StackEnd returns the virtual address after the end of the task's kernel stack.
func (t *Task) StackEnd() uint64 { return t.Stack + t.StackSize }

// taskStruct is struct task_struct (include/linux/sched.h).
type taskStruct struct {
	PID       int    `c:"pid"`
	TGID      int    `c:"tgid"`
	Parent    uint64 `c:"real_parent"`
	Comm      string `c:"comm" max:"16"` // TASK_COMM_LEN
	State     uint64 `c:"__state|state"` // renamed in Linux 5.14
	ExitState uint64 `c:"exit_state"`
	Flags     uint64 `c:"flags"`
	OnCPU     bool   `c:"on_cpu"`
	CPU       int    `c:"thread_info.cpu|cpu"` // moved in 5.16
	Stack     uint64 `c:"stack"`
	SP        uint64 `c:"thread.sp"`
	FSBase    uint64 `c:"thread.fsbase"`
	GSBase    uint64 `c:"thread.gsbase"`
	MM        uint64 `c:"mm"`
	Signal    uint64 `c:"signal"`
	Cred      uint64 `c:"real_cred"`
	Files     uint64 `c:"?files"`

	PIDLinks struct{} `c:"pid_links"`
	Tasks    struct{} `c:"tasks"`
	Node     struct{} `c:"thread_node"`
}

// taskReader reads tasks.
type taskReader struct {
	*kmem.Struct[taskStruct]
	stackSize uint64 // bytes
}

func (k *Kernel) taskReader(ctx context.Context) (*taskReader, error) {
	return k.taskMembers.Get(ctx, func(ctx context.Context) (*taskReader, error) {
		layout, err := StructOf[taskStruct](ctx, k, "task_struct")
		return &taskReader{layout, k.stackSize()}, err
	})
}

// stackSize returns THREAD_SIZE, the size of kernel stacks in bytes: that of the first task's,
// which is part of the image.
func (k *Kernel) stackSize() uint64 {
	const usual, maxSize = 16 << 10, 1 << 20
	for _, name := range []string{"init_stack", "init_task"} { // since Linux 6.10, and before
		start, ok1 := k.Addr("__start_" + name)
		end, ok2 := k.Addr("__end_" + name)
		if size := end - start; ok1 && ok2 && size >= usual && size <= maxSize && size&(size-1) == 0 {
			return size
		}
	}
	return usual
}

// pfKthread is PF_KTHREAD: a kernel thread (include/linux/sched.h).
const pfKthread = 0x0020_0000

// task returns the task whose task_struct is at addr.
func (r *taskReader) task(addr uint64, s *taskStruct) *Task {
	return &Task{
		Addr: addr, PID: s.PID, TGID: s.TGID, Comm: s.Comm, State: State(s.State), exitState: s.ExitState, CPU: s.CPU,
		OnCPU: s.OnCPU, Kernel: s.Flags&pfKthread != 0, Stack: s.Stack, StackSize: r.stackSize, SP: s.SP,
		FSBase: s.FSBase, GSBase: s.GSBase, MM: s.MM, Files: s.Files, cred: s.Cred,
	}
}

// TaskList is the tasks of the machine.
type TaskList struct {
	// All are the tasks in the order of their pids, and then the idle tasks.
	All []*Task
	// Damage says why tasks may be missing: inconsistencies in the kernel's lists.
	Damage []error

	kmem.Timeouts
}

// Tasks returns every task. They are found in the tree of pids, which costs few batches of reads,
// and if that is damaged also in the kernel's list of processes. Idle tasks are in neither and are
// found through the CPUs.
func (k *Kernel) Tasks(ctx context.Context) (*TaskList, error) {
	return k.tasks.Get(ctx, k.readTasks)
}

func (k *Kernel) readTasks(ctx context.Context) (*TaskList, error) {
	r, err := k.taskReader(ctx)
	if err != nil {
		return nil, fmt.Errorf("tasks: %w", err)
	}
	f := &taskFinder{k: k, r: r, parents: map[uint64]uint64{}, byAddr: map[uint64]*Task{}}
	for _, look := range []func(context.Context) error{f.byPID, f.byList, f.idle, f.byCPU} {
		if err := look(ctx); err != nil {
			return nil, fmt.Errorf("tasks: %w", err)
		}
	}
	if len(f.all) == 0 {
		return nil, fmt.Errorf("tasks: none found: %w", errors.Join(f.damage.List()...))
	}
	f.finish()
	return &TaskList{f.all, f.damage.List(), f.damage.Timeouts}, nil
}

// TaskAt returns the task whose task_struct is at a virtual address. It reads no other task, of
// which there may be a hundred thousand; Parent is 0.
func (k *Kernel) TaskAt(ctx context.Context, addr uint64) (*Task, error) {
	r, err := k.taskReader(ctx)
	if err != nil {
		return nil, err
	}
	s, err := r.ReadOne(ctx, k.Space, addr)
	if err != nil {
		return nil, err
	}
	if !s.plausible() {
		return nil, fmt.Errorf("no task at %#x", addr)
	}
	t := r.task(addr, s)
	t.Idle = t.PID == 0
	return t, nil
}

// taskFinder collects tasks.
type taskFinder struct {
	k       *Kernel
	r       *taskReader
	all     []*Task
	byAddr  map[uint64]*Task  // by task_struct
	parents map[uint64]uint64 // task_struct of each task's parent
	damage  kmem.Damage
	cut     bool // there are more than maxTasks
}

// maxPID is larger than every pid (PID_MAX_LIMIT, include/linux/threads.h).
const maxPID = 4 << 20

// maxTasks bounds the tasks that are listed; so many take 4 GB for stacks and tasks. Further ones
// are reported as damage.
const maxTasks = 1 << 17

// byPID reads the tasks in the tree of the initial pid namespace.
func (f *taskFinder) byPID(ctx context.Context) error {
	pids, err := f.pids(ctx)
	if err != nil {
		return err
	}
	tasks := make([]uint64, len(pids))
	for i, p := range pids {
		tasks[i] = p.task
	}
	return f.r.ReadEach(ctx, f.k.Space, tasks, func(i int, s *taskStruct, err error) error {
		switch {
		case err != nil:
			f.damage.Add("pid %d: %w", pids[i].nr, err)
		case s.PID != pids[i].nr:
			f.damage.Add("pid %d: its task_struct at %#x says pid %d", pids[i].nr, tasks[i], s.PID)
		default:
			f.add(tasks[i], s)
		}
		return nil
	})
}

// numbered is a task and its pid in the tree.
type numbered struct {
	nr   int
	task uint64
}

// pid is struct pid (include/linux/pid.h).
type pid struct {
	NR    int    `c:"numbers[0].nr"`
	Tasks uint64 `c:"tasks[0].first"` // PIDTYPE_PID is 0
}

// pids returns the pids that have a task.
func (f *taskFinder) pids(ctx context.Context) ([]numbered, error) {
	layout, err := StructOf[pid](ctx, f.k, "pid")
	if err != nil {
		return nil, err
	}
	found, err := f.pidTree(ctx)
	if err != nil {
		return nil, err
	}
	addrs := make([]uint64, len(found))
	for i := range found {
		addrs[i] = found[i].Value
	}
	var pids []numbered
	err = layout.ReadEach(ctx, f.k.Space, addrs, func(i int, p *pid, err error) error {
		switch {
		case err != nil:
			f.damage.Add("pid %d: %w", found[i].Index, err)
		case uint64(p.NR) != found[i].Index:
			f.damage.Add("pid %d: its struct pid at %#x says %d", found[i].Index, addrs[i], p.NR)
		case p.Tasks != 0: // otherwise the number is that of a process group or session only
			pids = append(pids, numbered{p.NR, p.Tasks - f.r.Offset("PIDLinks")})
		}
		return nil
	})
	return pids, err
}

// pidTree reads the tree of the initial pid namespace.
func (f *taskFinder) pidTree(ctx context.Context) ([]kmem.Entry, error) {
	types, err := f.k.Types(ctx)
	if err != nil {
		return nil, err
	}
	x, err := kmem.NewXArray(types)
	if err != nil {
		return nil, err
	}
	head, err := types.Field("pid_namespace", "idr.idr_rt.xa_head")
	if err != nil {
		return nil, err
	}
	ns, ok := f.k.Addr("init_pid_ns")
	if !ok {
		return nil, f.k.NoSymbol("init_pid_ns")
	}
	root, err := kmem.ReadUint(ctx, f.k.Space, ns+head.Offset, 8)
	if err != nil {
		f.damage.Add("tree of pids: %w", err)
		return nil, ctx.Err()
	}
	found, err := x.Entries(ctx, f.k.Space, root, maxTasks, &f.damage)
	return slices.DeleteFunc(found, func(e kmem.Entry) bool { return e.Index == 0 || e.Index >= maxPID }), err
}

// add adds a task if it is not listed yet.
func (f *taskFinder) add(addr uint64, s *taskStruct) {
	if f.byAddr[addr] != nil {
		return
	}
	if len(f.all) == maxTasks && s.PID != 0 {
		f.tooMany()
		return
	}
	t := f.r.task(addr, s)
	f.parents[addr] = s.Parent
	f.byAddr[addr] = t
	f.all = append(f.all, t)
}

// tooMany records once that not all tasks are listed.
func (f *taskFinder) tooMany() {
	if !f.cut {
		f.cut = true
		f.damage.Add("there are more than %d tasks, of which the first are listed: damaged, or too many", maxTasks)
	}
}

// idle adds the idle tasks with their CPUs.
func (f *taskFinder) idle(ctx context.Context) error {
	list, err := f.k.cpus.Get(ctx, f.k.readCPUs)
	if err != nil {
		f.damage.Add("%w", err)
		return ctx.Err()
	}
	f.damage.Include(list.Timeouts)
	cpus := list.all
	var addrs []uint64
	for i := range cpus {
		addrs = append(addrs, cpus[i].Idle)
	}
	tasks, errs, err := f.r.Read(ctx, f.k.Space, addrs)
	if err != nil {
		return err
	}
	for i := range tasks {
		switch {
		case addrs[i] == 0:
		case errs[i] != nil:
			f.damage.Add("idle task of CPU %d: %w", cpus[i].ID, errs[i])
		case tasks[i].PID != 0:
			f.damage.Add("idle task of CPU %d at %#x: not a task with pid 0", cpus[i].ID, addrs[i])
		default:
			f.addIdle(addrs[i], &tasks[i], cpus[i].ID)
		}
	}
	return nil
}

// addIdle adds the idle task of a CPU.
func (f *taskFinder) addIdle(addr uint64, s *taskStruct, cpu int) {
	f.add(addr, s)
	t := f.byAddr[addr]
	t.Idle, t.CPU = true, cpu
}

// byCPU adds the tasks that the CPUs ran, unless they are listed already.
func (f *taskFinder) byCPU(ctx context.Context) error {
	cpus, err := f.k.CPUs(ctx)
	if err != nil {
		return ctx.Err()
	}
	for i := range cpus {
		addr := cpus[i].Current
		if addr == 0 && !cpus[i].Offline {
			f.damage.Add("CPU %d: what it ran cannot be read", cpus[i].ID)
		}
		if addr == 0 || f.byAddr[addr] != nil {
			continue
		}
		s, err := f.r.ReadOne(ctx, f.k.Space, addr)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			f.damage.Add("current task of CPU %d: %w", cpus[i].ID, err)
		case !s.plausible():
			f.damage.Add("current task of CPU %d at %#x: not a task", cpus[i].ID, addr)
		case s.PID == 0:
			f.addIdle(addr, s, cpus[i].ID)
		default:
			f.add(addr, s)
		}
	}
	return nil
}

// plausible reports whether a struct can be a task.
func (s *taskStruct) plausible() bool {
	return s.PID >= 0 && s.PID < maxPID && s.TGID >= 0 && s.TGID < maxPID && int64(s.Stack) < 0
}

// finish sorts the list and sets the parents.
func (f *taskFinder) finish() {
	for _, t := range f.all {
		if p := f.byAddr[f.parents[t.Addr]]; p != nil {
			t.Parent = p.TGID
		}
	}
	slices.SortFunc(f.all, func(a, b *Task) int {
		switch {
		case a.Idle && !b.Idle:
			return 1
		case b.Idle && !a.Idle:
			return -1
		}
		return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.CPU, b.CPU))
	})
}
