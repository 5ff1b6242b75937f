package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// Task is a thread of the dead machine: of a process, or of the kernel itself.
type Task struct {
	Addr      uint64 // virtual, of its task_struct
	PID, TGID int    // in the machine's first pid namespace; 0 for the idle tasks
	Parent    int    // tgid of its parent, 0 if it has none
	Comm      string // its name, at most 15 bytes, of any kind
	State     State
	CPU       int  // that it runs on, or ran on last
	OnCPU     bool // it was running
	Kernel    bool // a thread of the kernel, without user space
	Idle      bool // what a CPU runs when there is nothing to run
	Stack     uint64
	SP        uint64 // of the kernel, when it does not run; see thread_struct.sp
	FSBase    uint64
	GSBase    uint64 // of user space
	MM        uint64 // virtual, of its mm_struct, or 0
	exitState uint64
	stackSize uint64
	cred      uint64 // virtual, of its struct cred
	files     uint64 // virtual, of its struct files_struct, or 0
}

// StackEnd returns the virtual address behind the task's stack.
func (t *Task) StackEnd() uint64 { return t.Stack + t.stackSize }

// taskLayout is what is read of every task_struct.
type taskLayout struct {
	task      *layout
	stackSize uint64

	PID       member `c:"pid"`
	TGID      member `c:"tgid"`
	Parent    member `c:"real_parent"`
	Comm      member `c:"comm" max:"16"` // TASK_COMM_LEN, include/linux/sched.h
	State     member `c:"__state|state"` // renamed in Linux 5.14
	ExitState member `c:"exit_state"`
	Flags     member `c:"flags"`
	OnCPU     member `c:"on_cpu"`
	CPU       member `c:"thread_info.cpu|cpu"` // moved in 5.16
	Stack     member `c:"stack"`
	SP        member `c:"thread.sp"`
	FSBase    member `c:"thread.fsbase"`
	GSBase    member `c:"thread.gsbase"`
	MM        member `c:"mm"`
	PIDLinks  member `c:"pid_links"`
	Tasks     member `c:"tasks"`
	Node      member `c:"thread_node"`
	Signal    member `c:"signal"`
	Cred      member `c:"real_cred"`
	Files     member `c:"?files"`
}

func (k *Kernel) taskLayout(ctx context.Context) (*taskLayout, error) {
	return k.taskMembers.get(ctx, func(ctx context.Context) (*taskLayout, error) {
		l := &taskLayout{stackSize: k.stackSize()}
		var err error
		l.task, err = k.layout(ctx, "task_struct", l)
		return l, err
	})
}

// stackSize returns the size of a task's stack, THREAD_SIZE, in bytes: that of the first task, which is part of the image.
func (k *Kernel) stackSize() uint64 {
	const usual, most = 16 << 10, 1 << 20
	for _, name := range []string{"init_stack", "init_task"} { // since Linux 6.10, and before
		start, ok1 := k.Addr("__start_" + name)
		end, ok2 := k.Addr("__end_" + name)
		if size := end - start; ok1 && ok2 && size >= usual && size <= most && size&(size-1) == 0 {
			return size
		}
	}
	return usual
}

// PF_KTHREAD marks threads of the kernel (include/linux/sched.h).
const pfKthread = 0x0020_0000

// of makes a Task of what was read of the task_struct at addr.
func (l *taskLayout) of(addr uint64, r record) *Task {
	return &Task{
		Addr: addr, PID: l.PID.int(r), TGID: l.TGID.int(r), Comm: l.Comm.text(r),
		State: State(l.State.uint(r)), exitState: l.ExitState.uint(r), CPU: l.CPU.int(r),
		OnCPU: l.OnCPU.uint(r) != 0, Kernel: l.Flags.uint(r)&pfKthread != 0,
		Stack: l.Stack.uint(r), stackSize: l.stackSize, SP: l.SP.uint(r),
		FSBase: l.FSBase.uint(r), GSBase: l.GSBase.uint(r), MM: l.MM.uint(r),
		cred: l.Cred.uint(r), files: l.Files.uint(r),
	}
}

// TaskList is every task of the machine that was found.
type TaskList struct {
	// All are the tasks, by pid; the idle tasks come last.
	All []*Task
	// Damage tells why some may be missing: what cannot be true of the kernel's lists. It is empty as a rule.
	Damage []error

	answers
}

// Tasks finds every task: by the tree of pids, which costs few batches of reads; where that is damaged, by the kernel's
// list of processes as well. The idle tasks are on neither: the CPUs tell them.
func (k *Kernel) Tasks(ctx context.Context) (*TaskList, error) {
	return k.tasks.get(ctx, k.readTasks)
}

func (k *Kernel) readTasks(ctx context.Context) (*TaskList, error) {
	l, err := k.taskLayout(ctx)
	if err != nil {
		return nil, fmt.Errorf("tasks: %w", err)
	}
	f := &taskFinder{k: k, l: l, parents: map[uint64]uint64{}, byAddr: map[uint64]*Task{}}
	for _, look := range []func(context.Context) error{f.byPID, f.byList, f.idle, f.byCPU} {
		if err := look(ctx); err != nil {
			return nil, fmt.Errorf("tasks: %w", err)
		}
	}
	if len(f.all) == 0 {
		return nil, fmt.Errorf("tasks: none found: %w", errors.Join(f.damage.list()...))
	}
	f.finish()
	return &TaskList{f.all, f.damage.list(), f.damage.answers}, nil
}

// TaskAt reads the task whose task_struct is at a virtual address, and no other: a machine may have a hundred thousand. It
// does not know the parent.
func (k *Kernel) TaskAt(ctx context.Context, addr uint64) (*Task, error) {
	l, err := k.taskLayout(ctx)
	if err != nil {
		return nil, err
	}
	r, err := l.task.readOne(ctx, k.Space, addr)
	if err != nil {
		return nil, err
	}
	if !l.plausible(r) {
		return nil, fmt.Errorf("no task at %#x", addr)
	}
	t := l.of(addr, r)
	t.Idle = t.PID == 0
	return t, nil
}

// taskFinder gathers tasks.
type taskFinder struct {
	k       *Kernel
	l       *taskLayout
	all     []*Task
	byAddr  map[uint64]*Task  // by task_struct
	parents map[uint64]uint64 // task_struct of each task's parent
	damage  damage
	cut     bool // there are more tasks than are listed
}

// maxPID is above every pid (PID_MAX_LIMIT, include/linux/threads.h).
const maxPID = 4 << 20

// maxTasks bounds how many tasks are listed. It takes 4 GB of stacks and tasks to have as many. The others are reported as damage.
const maxTasks = 1 << 17

// byPID goes through the tree of struct pid of the first pid namespace.
func (f *taskFinder) byPID(ctx context.Context) error {
	pids, err := f.pids(ctx)
	if err != nil {
		return err
	}
	tasks := make([]uint64, len(pids))
	for i, p := range pids {
		tasks[i] = p.task
	}
	return f.l.task.readEach(ctx, f.k.Space, tasks, func(i int, r record) error {
		switch pid := f.l.PID.int(r); {
		case r.err != nil:
			f.damage.add("pid %d: %w", pids[i].nr, r.err)
		case pid != pids[i].nr:
			f.damage.add("pid %d: its task_struct at %#x says pid %d", pids[i].nr, tasks[i], pid)
		default:
			f.add(tasks[i], r)
		}
		return nil
	})
}

// numbered is a task and the pid under which the tree has it.
type numbered struct {
	nr   int
	task uint64
}

// pidLayout is what is read of the structs behind pids.
type pidLayout struct {
	pid   *layout
	NR    member `c:"numbers[0].nr"`
	Tasks member `c:"tasks[0].first"` // PIDTYPE_PID is 0 (include/linux/pid.h)
}

// pids lists the pids that have a task.
func (f *taskFinder) pids(ctx context.Context) ([]numbered, error) {
	var l pidLayout
	var err error
	if l.pid, err = f.k.layout(ctx, "pid", &l); err != nil {
		return nil, err
	}
	found, err := f.pidTree(ctx)
	if err != nil {
		return nil, err
	}
	addrs := make([]uint64, len(found))
	for i := range found {
		addrs[i] = found[i].value
	}
	var pids []numbered
	err = l.pid.readEach(ctx, f.k.Space, addrs, func(i int, r record) error {
		nr, link := l.NR.int(r), l.Tasks.uint(r)
		switch {
		case r.err != nil:
			f.damage.add("pid %d: %w", found[i].index, r.err)
		case uint64(nr) != found[i].index:
			f.damage.add("pid %d: its struct pid at %#x says %d", found[i].index, addrs[i], nr)
		case link != 0: // else the number is still in use as that of a process group or session
			pids = append(pids, numbered{nr, link - f.l.PIDLinks.Offset})
		}
		return nil
	})
	return pids, err
}

// pidTree reads the tree of the first pid namespace.
func (f *taskFinder) pidTree(ctx context.Context) ([]xaEntry, error) {
	types, err := f.k.Types(ctx)
	if err != nil {
		return nil, err
	}
	x, err := newXArray(types)
	if err != nil {
		return nil, err
	}
	head, err := types.Field("pid_namespace", "idr.idr_rt.xa_head")
	if err != nil {
		return nil, err
	}
	ns, ok := f.k.Addr("init_pid_ns")
	if !ok {
		return nil, f.k.noSymbol("init_pid_ns")
	}
	root, err := f.k.readUint(ctx, ns+head.Offset, 8)
	if err != nil {
		f.damage.add("tree of pids: %w", err)
		return nil, ctx.Err()
	}
	found, err := x.entries(ctx, f.k, root, maxTasks, &f.damage)
	return slices.DeleteFunc(found, func(e xaEntry) bool { return e.index == 0 || e.index >= maxPID }), err
}

// add takes a task in, once.
func (f *taskFinder) add(addr uint64, r record) {
	if f.byAddr[addr] != nil {
		return
	}
	if len(f.all) == maxTasks && f.l.PID.int(r) != 0 {
		f.tooMany()
		return
	}
	t := f.l.of(addr, r)
	f.parents[addr] = f.l.Parent.uint(r)
	f.byAddr[addr] = t
	f.all = append(f.all, t)
}

// tooMany notes, once, that not all tasks are listed.
func (f *taskFinder) tooMany() {
	if !f.cut {
		f.cut = true
		f.damage.add("there are more than %d tasks, of which the first are listed: damaged, or too many", maxTasks)
	}
}

// idle adds the idle tasks, and tells which CPU each belongs to.
func (f *taskFinder) idle(ctx context.Context) error {
	list, err := f.k.cpus.get(ctx, f.k.readCPUs)
	if err != nil {
		f.damage.add("%w", err)
		return ctx.Err()
	}
	f.damage.include(list.answers)
	cpus := list.all
	var addrs []uint64
	for i := range cpus {
		addrs = append(addrs, cpus[i].Idle)
	}
	records, err := f.l.task.read(ctx, f.k.Space, addrs)
	if err != nil {
		return err
	}
	for i, r := range records {
		switch {
		case addrs[i] == 0:
		case r.err != nil:
			f.damage.add("idle task of CPU %d: %w", cpus[i].ID, r.err)
		case f.l.PID.int(r) != 0:
			f.damage.add("idle task of CPU %d at %#x: not a task with pid 0", cpus[i].ID, addrs[i])
		default:
			f.addIdle(addrs[i], r, cpus[i].ID)
		}
	}
	return nil
}

// addIdle takes in the idle task of a CPU.
func (f *taskFinder) addIdle(addr uint64, r record, cpu int) {
	f.add(addr, r)
	t := f.byAddr[addr]
	t.Idle, t.CPU = true, cpu
}

// byCPU adds what the CPUs ran, if it was found nowhere else.
func (f *taskFinder) byCPU(ctx context.Context) error {
	cpus, err := f.k.CPUs(ctx)
	if err != nil {
		return ctx.Err()
	}
	for i := range cpus {
		addr := cpus[i].Current
		if addr == 0 && !cpus[i].Offline {
			f.damage.add("CPU %d: what it ran cannot be read", cpus[i].ID)
		}
		if addr == 0 || f.byAddr[addr] != nil {
			continue
		}
		r, err := f.l.task.readOne(ctx, f.k.Space, addr)
		switch {
		case err != nil && r.data == nil:
			return err
		case err != nil:
			f.damage.add("current task of CPU %d: %w", cpus[i].ID, err)
		case !f.l.plausible(r):
			f.damage.add("current task of CPU %d at %#x: not a task", cpus[i].ID, addr)
		case f.l.PID.int(r) == 0:
			f.addIdle(addr, r, cpus[i].ID)
		default:
			f.add(addr, r)
		}
	}
	return nil
}

// plausible reports whether a record can be that of a task at all.
func (l *taskLayout) plausible(r record) bool {
	pid, tgid, stack := l.PID.int(r), l.TGID.int(r), l.Stack.uint(r)
	return pid >= 0 && pid < maxPID && tgid >= 0 && tgid < maxPID && int64(stack) < 0
}

// finish puts the list in order and finds out parents.
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
