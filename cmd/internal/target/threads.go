package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"physgdb/cmd/internal/query"
	"physgdb/gdbstub"
	"physgdb/internal/plain"
	"physgdb/symbols"
	"physgdb/symbols/linux"
)

// thread is a thread as debuggers see it: a task, or a CPU where the tasks are not known.
type thread struct {
	gdbstub.Thread
	task  *linux.Task // nil if not known
	dead  bool        // this is what panicked
	blank bool        // its registers cannot be known: it runs, or is a CPU that was offline
}

// idleThread numbers the idle tasks, which all have pid 0, apart: this and the CPU. No pid is that
// large.
const idleThread gdbstub.ThreadID = 10_000_000

// cpuThread numbers CPUs from 1, as thread 0 means "any" to gdb.
func cpuThread(cpu int) gdbstub.ThreadID { return gdbstub.ThreadID(cpu + 1) }

func taskThread(t *linux.Task) gdbstub.ThreadID {
	if t.Idle {
		return idleThread + gdbstub.ThreadID(t.CPU)
	}
	return gdbstub.ThreadID(t.PID)
}

// threads lists the threads, the one that panicked first, then those that were running.
func (v *view) threads(ctx context.Context) ([]thread, error) {
	if v.m.Kernel.Symbols == nil {
		return v.bareCPUs(ctx), nil
	}
	all, err := v.kernelThreads(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		v.m.Log.Warn("the tasks cannot be found; showing the CPUs instead", "why", err)
		return v.bareCPUs(ctx), nil
	}
	if all = distinct(all); len(all) == 0 {
		return v.bareCPUs(ctx), nil
	}
	v.markDead(ctx, all)
	slices.SortStableFunc(all, func(a, b thread) int { return cmp.Compare(a.rank(), b.rank()) })
	if len(all) > maxThreads {
		v.m.Log.Warn("debuggers see only the first threads; ps lists all", "threads", len(all), "shown", maxThreads)
		all = slices.Clip(slices.Clone(all[:maxThreads]))
	}
	return all, nil
}

// maxThreads bounds how many threads a debugger is shown. Each connection keeps its list, and gdb
// takes seconds to read one as long.
const maxThreads = 1 << 15

// kernelThreads lists what the kernel knows: its tasks, or what its CPUs ran.
func (v *view) kernelThreads(ctx context.Context) ([]thread, error) {
	cpus, err := v.m.Kernel.CPUs(ctx)
	if err != nil {
		return nil, err
	}
	if v.cpusOnly {
		return v.cpuThreads(ctx, cpus), nil
	}
	tasks, err := v.tasksInTime(ctx)
	switch {
	case errors.Is(err, errNotYet):
		v.m.Log.Warn("the list of tasks is not read yet; showing the tasks on the CPUs until then")
		return v.runningThreads(ctx, cpus)
	case err != nil:
		return nil, err
	}
	for _, damage := range tasks.Damage {
		v.m.Log.Warn("the list of tasks is damaged; some may be missing", "why", damage)
	}
	return v.taskThreads(cpus, tasks), nil
}

// errNotYet says that what was asked for takes longer to read than there is time.
var errNotYet = errors.New("not read yet")

// tasksInTime returns the tasks. It takes half of the time that there is: the rest is for an answer
// without them, if they are not all read then, which errNotYet says.
func (v *view) tasksInTime(ctx context.Context) (*linux.TaskList, error) {
	half := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		half, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	tasks, err := v.m.Kernel.Tasks(half)
	if err != nil && half.Err() != nil && ctx.Err() == nil {
		return nil, errNotYet
	}
	return tasks, err
}

// runningThreads makes a thread of every task that a CPU ran, with the number that it has in the
// list of all tasks.
func (v *view) runningThreads(ctx context.Context, cpus []linux.CPU) ([]thread, error) {
	list := &linux.TaskList{}
	for i := range cpus {
		task, err := v.m.Kernel.TaskAt(ctx, cpus[i].Current)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil {
			if task.Idle {
				task.CPU = cpus[i].ID
			}
			list.All = append(list.All, task)
		}
	}
	return v.taskThreads(cpus, list), nil
}

// distinct leaves out threads whose number is taken, as damaged lists may have two tasks with one
// pid.
func distinct(all []thread) []thread {
	taken := map[gdbstub.ThreadID]bool{}
	return slices.DeleteFunc(all, func(t thread) bool {
		again := taken[t.ID]
		taken[t.ID] = true
		return again || t.ID <= 0
	})
}

// rank orders threads by how much a user wants to see them.
func (t *thread) rank() int {
	switch {
	case t.dead:
		return 0
	case t.blank:
		return 4
	case t.task != nil && t.task.OnCPU && !t.task.Idle:
		return 1
	case t.task != nil && t.task.Idle:
		return 3
	}
	return 2
}

// bareCPUs are the threads where nothing is known of tasks. They have the numbers of the CPUs' idle
// tasks: if the tasks become known, as when a debugger lends its symbols, these go on.
func (v *view) bareCPUs(ctx context.Context) []thread {
	all := make([]thread, len(v.m.CPUs))
	for i, cpu := range v.m.CPUs {
		all[i].Thread = gdbstub.Thread{
			ID: idleThread + gdbstub.ThreadID(cpu), Name: fmt.Sprintf("CPU %d", cpu), Text: "registers not known", Core: cpu,
		}
	}
	switch first := &all[0]; {
	case v.m.Notice != nil:
		first.dead, first.Text = true, v.panicSummary
	case v.m.Kernel.Symbols == nil:
		first.Text += "; monitor info says why"
	}
	return all
}

// taskThreads makes a thread of every task.
func (v *view) taskThreads(cpus []linux.CPU, tasks *linux.TaskList) []thread {
	running := map[uint64]bool{}
	for i := range cpus {
		running[cpus[i].Current] = true
	}
	all := make([]thread, 0, len(tasks.All))
	for _, t := range tasks.All {
		all = append(all, thread{task: t, blank: v.m.Live && running[t.Addr], Thread: gdbstub.Thread{
			ID: taskThread(t), Name: t.Comm, Text: taskText(t, running[t.Addr]), Core: t.CPU,
		}})
	}
	return all
}

// cpuThreads makes a thread of every CPU.
func (v *view) cpuThreads(ctx context.Context, cpus []linux.CPU) []thread {
	all := make([]thread, 0, len(cpus))
	for i := range cpus {
		t := thread{Thread: gdbstub.Thread{
			ID: cpuThread(cpus[i].ID), Name: fmt.Sprintf("CPU %d", cpus[i].ID), Text: "what it ran is not known",
			Core: cpus[i].ID,
		}}
		if cpus[i].Offline {
			t.Text, t.blank = "offline", true
		} else if task, err := v.m.Kernel.TaskAt(ctx, cpus[i].Current); err == nil {
			t.task, t.Text = task, fmt.Sprintf("%s, pid %d", plain.Line(task.Comm), task.PID)
		}
		all = append(all, t)
	}
	return all
}

// taskText says in a few words what a task was doing.
func taskText(t *linux.Task, running bool) string {
	words := []string{fmt.Sprintf("%c on CPU %d", t.Letter(), t.CPU)}
	if running {
		words[0] = fmt.Sprintf("running on CPU %d", t.CPU)
	}
	switch {
	case t.Idle:
		words = append(words, "idle")
	case t.Kernel:
		words = append(words, "kernel")
	case t.PID != t.TGID:
		words = append(words, fmt.Sprintf("of %d", t.TGID))
	}
	return strings.Join(words, ", ")
}

// markDead finds the thread that panicked, and gives it a text with the reason. Debuggers show its
// task and number next to that.
func (v *view) markDead(ctx context.Context, all []thread) {
	task := query.DeadTask(ctx, v.m)
	if task == nil {
		return
	}
	death := query.Death(ctx, v.m)
	for i := range all {
		t := &all[i]
		if t.task == nil || t.task.Addr != task.Addr {
			continue
		}
		t.dead, t.Text = true, query.PanicText(death.Message, &death)
		if v.cpusOnly {
			t.Text += query.TaskText(task.Comm, &task.PID)
		} else {
			t.Text += fmt.Sprintf("; on CPU %d", t.Core)
		}
	}
}

// Segment selectors of kernel code and data (arch/x86/include/asm/segment.h).
const kernelCS, kernelDS = 0x10, 0x18

// registers returns what is known of a thread's registers, which may be nothing. The error is
// ctx's.
func (v *view) registers(ctx context.Context, t *thread) (gdbstub.Registers, error) {
	regs := gdbstub.Registers{}
	if t.dead && v.m.Notice != nil {
		maps.Copy(regs, query.NoticedRegisters(v.m))
		if v.m.Notice.RIP != nil {
			regs["cs"], regs["ss"] = kernelCS, kernelDS
		}
	}
	if t.task == nil {
		return regs, nil
	}
	if base, ok := v.cpuBase(ctx, t.task.CPU); ok {
		regs["gs_base"] = base
	}
	if _, given := regs["cr4"]; !given {
		if cr4, err := v.m.Kernel.CR4(ctx, t.task.CPU); err == nil {
			regs["cr4"] = cr4
		}
	}
	regs["fs_base"], regs["k_gs_base"] = t.task.FSBase, t.task.GSBase
	found, err := v.m.Unwinder.Registers(ctx, t.task)
	if err != nil {
		return regs, ctx.Err() // no registers is what there is to know
	}
	for number, name := range query.RegisterNames {
		if v, ok := found.Get(symbols.Reg(number)); ok {
			regs[name] = v
		} else {
			delete(regs, name) // that of a notice belongs to another frame
		}
	}
	regs["cs"], regs["ss"] = kernelCS, kernelDS
	if found.HasFlags {
		regs["eflags"], regs["cs"], regs["ss"] = found.Flags, uint64(found.CS), uint64(found.SS)
	}
	return regs, nil
}

func (v *view) cpuBase(ctx context.Context, id int) (uint64, bool) {
	cpus, err := v.m.Kernel.CPUs(ctx)
	if err != nil {
		return 0, false
	}
	i := slices.IndexFunc(cpus, func(c linux.CPU) bool { return c.ID == id })
	if i < 0 {
		return 0, false
	}
	return cpus[i].Base, true
}
