package linux

import (
	"fmt"
	"strings"
	"testing"

	"physgdb/symbols/linux/kmem"

	"physgdb/symbols"
)

// Where the variables of these tests' kernel lie, one page each.
const (
	initPIDNS  = base + 0x180000
	initTask   = base + 0x181000
	nrCPUs     = base + 0x182000
	cpuMask    = base + 0x183000
	perCPUOffs = base + 0x184000
	runQueues  = 0x1000 // per-CPU
	cpu0       = base + 0x185000
	cpu1       = base + 0x188000
)

// taskWorld is a kernel with two CPUs and some tasks.
type taskWorld struct {
	*world
	tasks map[int]uint64 // by pid
	root  uint64         // the node of the tree of pids
}

func newTaskWorld(t *testing.T, rules fakeRules) *taskWorld {
	t.Helper()
	w := &taskWorld{tasks: map[int]uint64{}, world: newWorld(t, rules, map[string]uint64{
		"init_pid_ns": initPIDNS, "init_task": initTask, "nr_cpu_ids": nrCPUs, "__cpu_possible_mask": cpuMask,
		"__per_cpu_offset": perCPUOffs, "runqueues": runQueues,
	})}
	w.Structs.Define("task_struct", "__state", 4, "stack", "flags", 4, "on_cpu", 4, "thread_info.cpu", 4, "tasks", 16,
		"pid", 4, "tgid", 4, "real_parent", "comm", 16, "exit_state", 4, "thread.sp", "thread.fsbase", "thread.gsbase",
		"mm", "pid_links", 64, "thread_node", 16, "signal", "real_cred")
	w.Structs.Define("list_head", "next", "prev")
	w.Structs.Define("signal_struct", "thread_head", 16)
	w.Structs.Define("pid", "numbers[0].nr", 4, "tasks[0].first")
	w.Structs.Define("xa_node", "shift", 1, "slots", 512)
	w.Structs.Define("pid_namespace", "idr.idr_rt.xa_head")
	w.Structs.Define("rq", "curr", "idle")
	w.Put(nrCPUs, 2)
	w.Put(cpuMask, 3)
	w.Put(perCPUOffs, cpu0, cpu1)
	w.root = w.Alloc("xa_node", 0)
	w.Put(initPIDNS, w.root|2)
	w.place(initTask, 0, 0)
	w.Put(cpu0+runQueues, initTask, initTask)
	idle := w.Alloc("task_struct", 0)
	w.place(idle, 0, 0)
	w.Put(cpu1+runQueues, idle, idle)
	head := initTask + w.Structs["task_struct.tasks"].Offset
	w.Put(head, head, head)
	return w
}

// place writes a task_struct, with a list of threads that is empty but for itself.
func (w *taskWorld) place(addr uint64, pid, tgid int) {
	w.Set(addr, "task_struct", "pid", uint64(pid))
	w.Set(addr, "task_struct", "tgid", uint64(tgid))
	w.Set(addr, "task_struct", "stack", w.Alloc("", 0x4000))
	copy(w.RAM[addr+w.Structs["task_struct.comm"].Offset-base:], fmt.Sprintf("task%d\x00", pid))
	if pid == tgid {
		signal := w.Alloc("signal_struct", 0)
		w.Set(addr, "task_struct", "signal", signal)
		w.Put(signal, signal, signal)
		w.insert(signal, addr+w.Structs["task_struct.thread_node"].Offset)
	}
}

// insert puts a node after the head of a list.
func (w *taskWorld) insert(head, node uint64) {
	next, _ := kmem.ReadUint(ctx, w.Space, head, 8)
	w.Put(node, next, head)
	w.Put(head, node)
	w.Put(next+8, node)
}

// add makes a task that is in the tree of pids and in the lists.
func (w *taskWorld) add(pid, tgid int) uint64 {
	task, nr := w.Alloc("task_struct", 0), w.Alloc("pid", 0)
	w.place(task, pid, tgid)
	w.tasks[pid] = task
	w.Set(nr, "pid", "numbers[0].nr", uint64(pid))
	w.Set(nr, "pid", "tasks[0].first", task+w.Structs["task_struct.pid_links"].Offset)
	w.Put(slot(w.root, pid), nr)
	if pid == tgid {
		w.insert(initTask+w.Structs["task_struct.tasks"].Offset, task+w.Structs["task_struct.tasks"].Offset)
		return nr
	}
	signal, _ := kmem.ReadUint(ctx, w.Space, w.tasks[tgid]+w.Structs["task_struct.signal"].Offset, 8)
	w.Set(task, "task_struct", "signal", signal)
	w.insert(signal, task+w.Structs["task_struct.thread_node"].Offset)
	return nr
}

// listing writes tasks as "pid/tgid comm".
func listing(l *TaskList) string {
	var all []string
	for _, t := range l.All {
		all = append(all, fmt.Sprintf("%d/%d %s", t.PID, t.TGID, t.Comm))
	}
	return strings.Join(all, ", ")
}

func TestTasks(t *testing.T) {
	const all = "1/1 task1, 2/2 task2, 3/2 task3, 9/9 task9, 0/0 task0, 0/0 task0"
	const wild = 0xdead000000000100
	for _, tc := range []struct {
		name    string
		harm    func(w *taskWorld, pids map[int]uint64)
		want    string
		damaged bool
	}{
		{"whole", func(*taskWorld, map[int]uint64) {}, all, false},
		{"a pid without a task", func(w *taskWorld, p map[int]uint64) { w.Set(p[9], "pid", "tasks[0].first", 0) },
			"1/1 task1, 2/2 task2, 3/2 task3, 0/0 task0, 0/0 task0", false},
		{"a struct pid that is another's", func(w *taskWorld, p map[int]uint64) { w.Put(slot(w.root, 9), p[2]) }, all, true},
		{"a struct pid that is none", func(w *taskWorld, p map[int]uint64) { w.Put(slot(w.root, 3), wild) }, all, true},
		{"a task of another pid", func(w *taskWorld, p map[int]uint64) {
			w.Set(p[3], "pid", "tasks[0].first", w.tasks[1]+w.Structs["task_struct.pid_links"].Offset)
		}, all, true},
		{"no tree at all", func(w *taskWorld, p map[int]uint64) { w.Put(initPIDNS, wild|2) }, all, true},
		{"no tree, and a list that is torn", func(w *taskWorld, p map[int]uint64) {
			w.Put(initPIDNS, wild|2)
			w.Put(w.tasks[2]+w.Structs["task_struct.tasks"].Offset, wild)
		}, all, true}, // the list leads to the others from its other end
		{"no tree, and a list that runs in a circle", func(w *taskWorld, p map[int]uint64) {
			w.Put(initPIDNS, wild|2)
			link := w.tasks[9] + w.Structs["task_struct.tasks"].Offset
			w.Put(link, link)
		}, all, true},
		{"no tree, and broken list of threads", func(w *taskWorld, p map[int]uint64) {
			w.Put(initPIDNS, wild|2)
			w.Put(w.tasks[3]+w.Structs["task_struct.thread_node"].Offset, wild)
		}, all, true},
		{"no idle task", func(w *taskWorld, p map[int]uint64) { w.Put(cpu1+runQueues+8, wild) }, all, true},
		{"a CPU without its data", func(w *taskWorld, p map[int]uint64) { w.Put(perCPUOffs+8, wild) },
			"1/1 task1, 2/2 task2, 3/2 task3, 9/9 task9, 0/0 task0", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newTaskWorld(t, nil)
			pids := map[int]uint64{}
			for _, id := range [][2]int{{1, 1}, {2, 2}, {3, 2}, {9, 9}} {
				pids[id[0]] = w.add(id[0], id[1])
			}
			tc.harm(w, pids)
			l, err := w.Tasks(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if got := listing(l); got != tc.want || (len(l.Damage) > 0) != tc.damaged {
				t.Errorf("tasks %s\nwant  %s\ndamage %v", got, tc.want, l.Damage)
			}
		})
	}
}

func TestTaskState(t *testing.T) {
	for _, tc := range []struct {
		state State
		exit  uint64
		want  byte
	}{
		{0, 0, 'R'}, {1, 0, 'S'}, {0x2001, 0, 'S'}, {2, 0, 'D'}, {0x102, 0, 'D'}, {4, 0, 'T'}, {8, 0, 't'}, {0x402, 0, 'I'},
		{0x40, 0, 'P'}, {0x80, 0x20, 'Z'}, {0x80, 0x10, 'X'},
	} {
		task := &Task{State: tc.state, exitState: tc.exit}
		if got := task.Letter(); got != tc.want {
			t.Errorf("state %#x, exit %#x: %c, want %c", uint64(tc.state), tc.exit, got, tc.want)
		}
	}
}

func TestPerCPU(t *testing.T) {
	w := newTaskWorld(t, nil)
	w.Symbols = nil
	if _, err := w.PerCPU(ctx, "runqueues", 0); err == nil {
		t.Error("a symbol was found without any")
	}
	w = newTaskWorld(t, nil)
	if _, err := w.PerCPU(ctx, "init_task", 0); err == nil || !strings.Contains(err.Error(), "no per-CPU symbol") {
		t.Errorf("init_task: %v", err)
	}
	if _, err := w.PerCPU(ctx, "nothing", 0); err == nil {
		t.Error("nothing was found")
	}
}

func TestPerCPUDamaged(t *testing.T) {
	symbolsOf := func(w *taskWorld) {
		var table []symbols.Symbol
		for name, addr := range map[string]uint64{
			"__per_cpu_start": 0, "__per_cpu_end": 0x30000, "runqueues": runQueues, "nr_cpu_ids": nrCPUs,
			"__cpu_possible_mask": cpuMask, "__per_cpu_offset": perCPUOffs,
		} {
			table = append(table, symbols.Symbol{Name: name, Addr: addr})
		}
		w.Symbols = symbols.NewTable(table, nil)
	}
	for _, tc := range []struct {
		name string
		base uint64
		want string
	}{
		{"whole", cpu1, ""},
		{"an offset of zero", 0, "__per_cpu_offset[1] is 0x0: damaged memory"},
		{"an offset into user space", 0x7fff00000000, "__per_cpu_offset[1] is 0x7fff00000000: damaged memory"},
	} {
		w := newTaskWorld(t, nil)
		symbolsOf(w)
		w.Put(perCPUOffs, cpu0, tc.base)
		addr, err := w.PerCPU(ctx, "runqueues", 1)
		if tc.want == "" && (err != nil || addr != cpu1+runQueues) || tc.want != "" && (err == nil || err.Error() != tc.want) {
			t.Errorf("%s: %#x, %v; want %q", tc.name, addr, err, tc.want)
		}
	}
}

func TestCR4(t *testing.T) {
	const state = 0x2000 // per-CPU
	w := newTaskWorld(t, nil)
	w.Structs.Define("tlb_state", "loaded_mm", "cr4")
	w.Symbols = symbols.NewTable([]symbols.Symbol{
		{Name: "__per_cpu_start"}, {Name: "__per_cpu_end", Addr: 0x30000}, {Name: "nr_cpu_ids", Addr: nrCPUs},
		{Name: "__cpu_possible_mask", Addr: cpuMask}, {Name: "__per_cpu_offset", Addr: perCPUOffs},
		{Name: "runqueues", Addr: runQueues}, {Name: "cpu_tlbstate", Addr: state}, {Name: "idt_descr", Addr: cpu0 + 0x2800},
	}, nil)
	w.Put(cpu0+0x2800, 0xfe00_0000_0000<<16|0xfff, 0xffff)
	if base, limit, err := w.IDT(ctx); base != 0xfffffe0000000000 || limit != 0xfff || err != nil {
		t.Errorf("IDT at %#x, limit %#x, %v", base, limit, err)
	}
	for cpu, at := range []uint64{cpu0, cpu1} {
		want := uint64(0x750ef0 + cpu)
		w.Set(at+state, "tlb_state", "cr4", want)
		if got, err := w.CR4(ctx, cpu); got != want || err != nil {
			t.Errorf("CR4 of CPU %d is %#x, %v; want %#x", cpu, got, err, want)
		}
	}
	if got, err := w.CR4(ctx, 7); err == nil {
		t.Errorf("CPU 7, which there is not, has %#x", got)
	}
}

func TestOfflineCPU(t *testing.T) {
	const states = 0x2000 // per-CPU
	for _, tc := range []struct {
		name    string
		state   uint64 // of CPU 1
		busy    bool   // its run queue names another task than the idle one
		offline bool
	}{
		{"up", 235, false, false},
		{"never came up", 0, false, true},
		{"ran a task, and is said not to be up", 0, true, false},
	} {
		w := newTaskWorld(t, nil)
		w.Structs.Define("cpuhp_cpu_state", "target", 4, "state", 4)
		w.Symbols = symbols.NewTable([]symbols.Symbol{
			{Name: "nr_cpu_ids", Addr: nrCPUs}, {Name: "__cpu_possible_mask", Addr: cpuMask},
			{Name: "__per_cpu_offset", Addr: perCPUOffs}, {Name: "runqueues", Addr: runQueues},
			{Name: "cpuhp_state", Addr: states}, {Name: "init_pid_ns", Addr: initPIDNS}, {Name: "init_task", Addr: initTask},
		}, nil)
		w.Set(cpu0+states, "cpuhp_cpu_state", "state", 235)
		w.Set(cpu1+states, "cpuhp_cpu_state", "state", tc.state)
		idle, _ := kmem.ReadUint(ctx, w.Space, cpu1+runQueues+8, 8)
		ran := idle
		if tc.busy {
			w.add(5, 5)
			ran = w.tasks[5]
			w.Put(cpu1+runQueues, ran)
		}
		cpus, err := w.CPUs(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if tc.offline {
			ran = 0
		}
		if c := cpus[1]; c.Offline != tc.offline || c.Current != ran || c.Idle != idle || cpus[0].Offline {
			t.Errorf("%s: %+v", tc.name, cpus)
		}
		l, err := w.Tasks(ctx)
		if err != nil || len(l.Damage) > 0 {
			t.Errorf("%s: %v, damage %v", tc.name, err, l.Damage)
		}
	}
}

func TestTaskAtReadsOneTask(t *testing.T) {
	w := newTaskWorld(t, nil)
	w.add(5, 5)
	w.add(7, 7)
	if _, err := w.TaskAt(ctx, w.tasks[5]); err != nil { // types and page tables are known from now on
		t.Fatal(err)
	}
	before := w.Fake.Counts().Batches
	task, err := w.TaskAt(ctx, w.tasks[7])
	if err != nil || task.PID != 7 || task.Comm != "task7" || task.Idle {
		t.Errorf("%+v, %v", task, err)
	}
	if batches := w.Fake.Counts().Batches - before; batches != 1 {
		t.Errorf("%d batches of reads", batches)
	}
	if task, err := w.TaskAt(ctx, initTask); err != nil || !task.Idle {
		t.Errorf("an idle task: %+v, %v", task, err)
	}
	for _, addr := range []uint64{0, 0xdead000000000100, base + 0x1f0000} { // the last is mapped, and empty
		if task, err := w.TaskAt(ctx, addr); err == nil {
			t.Errorf("%#x: %+v", addr, task)
		}
	}
}

// slot returns the address of a slot of the node of an XArray.
func slot(node uint64, i int) uint64 { return node + 8 + 8*uint64(i) }
