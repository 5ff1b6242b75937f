package target

import (
	"context"
	"fmt"

	"physgdb/cmd/internal/machine"
	"physgdb/cmd/internal/query"
	"physgdb/gdbstub"
	"physgdb/gdbstub/tdesc"
	"physgdb/internal/plain"
	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/userspace"
)

// program is a process of the machine as a debugger that has attached to it sees it: its threads,
// with the registers with which they entered the kernel, and its memory. It lacks what a [session]
// has for the kernel: a relocation, modules, files.
type program struct {
	view   // the user may select another address space than the program's
	leader *linux.Task
	abi    userspace.ABI
	tasks  map[gdbstub.ThreadID]*linux.Task
}

// OpenProcess opens one of the machine's programs.
func (s *session) OpenProcess(ctx context.Context, pid int) (gdbstub.Target, error) {
	return openProgram(ctx, s.m, s.cpusOnly, pid)
}

func openProgram(ctx context.Context, m *machine.Machine, cpusOnly bool, pid int) (*program, error) {
	if err := m.NeedSymbols(); err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	list, err := m.Kernel.Tasks(ctx)
	if err != nil {
		return nil, err
	}
	leader := processOf(list, pid)
	switch {
	case leader == nil:
		return nil, fmt.Errorf("the machine has no process %d; see: info os processes", pid)
	case leader.MM == 0:
		return nil, fmt.Errorf("process %d, %s, has no memory of its own; attach to 1, which is the whole machine", pid,
			plain.Line(leader.Comm))
	}
	space, err := m.Kernel.TaskSpace(ctx, leader)
	if err != nil {
		return nil, err
	}
	abi, err := userspace.ProgramABI(ctx, m.Unwinder, leader)
	if err != nil {
		return nil, err
	}
	return newProgram(ctx, m, cpusOnly, leader, abi, space), nil
}

// newProgram returns the process of a task, whose address space is space.
func newProgram(ctx context.Context, m *machine.Machine, cpusOnly bool, leader *linux.Task, abi userspace.ABI, space *mmu.Space) *program {
	p := &program{view: newView(ctx, m, cpusOnly), leader: leader, abi: abi}
	p.now = &thread{task: leader}
	p.spaces[leader.MM] = space
	return p
}

// processOf finds the first thread of a process, or nil.
func processOf(list *linux.TaskList, pid int) *linux.Task {
	for _, t := range list.All {
		if t.PID == pid && t.TGID == pid && !t.Idle {
			return t
		}
	}
	return nil
}

// Threads lists the process's threads, the one that panicked first.
func (p *program) Threads(ctx context.Context) ([]gdbstub.Thread, error) {
	all, err := p.threads(ctx)
	if err != nil {
		return nil, err
	}
	p.tasks = map[gdbstub.ThreadID]*linux.Task{}
	var list []gdbstub.Thread
	for _, t := range all {
		if t.task == nil || t.task.TGID != p.leader.PID || t.task.Idle {
			continue
		}
		t.ID = taskThread(t.task)
		p.tasks[t.ID] = t.task
		list = append(list, t.Thread)
	}
	if len(list) == 0 { // as where threads are CPUs
		id := taskThread(p.leader)
		p.tasks[id] = p.leader
		list = []gdbstub.Thread{{ID: id, Name: p.leader.Comm, Core: p.leader.CPU}}
	}
	return list, nil
}

// Registers returns what a thread of the program had in its registers when it last entered the
// kernel.
func (p *program) Registers(ctx context.Context, id gdbstub.ThreadID) (gdbstub.Registers, error) {
	t := p.tasks[id]
	if t == nil {
		return nil, fmt.Errorf("process %d has no thread %d", p.leader.PID, id)
	}
	space, err := p.current(ctx)
	if err != nil {
		return nil, err
	}
	regs := gdbstub.Registers{"cr3": space.Root().CR3, "fs_base": t.FSBase, "gs_base": t.GSBase}
	found, err := p.m.Unwinder.UserRegisters(ctx, t)
	if err != nil {
		p.m.Log.Info("a program's registers are not known", "why", err)
		regs[p.registerName(symbols.RIP)] = 0 // gdb does not attach to a thread that has no PC at all
		return regs, ctx.Err()
	}
	for reg := symbols.RAX; reg <= symbols.RIP; reg++ {
		if v, ok := found.Get(reg); ok {
			regs[p.registerName(reg)] = v
		}
	}
	regs["eflags"], regs["cs"], regs["ss"] = found.Flags, uint64(found.CS), uint64(found.SS)
	regs[p.callNumberName()] = uint64(found.OrigRAX)
	return regs, nil
}

// registerName returns gdb's name of a register; that of a 32-bit program is the lower half of it.
func (p *program) registerName(reg symbols.Reg) string {
	name := query.RegisterNames[reg]
	if p.abi == userspace.I386 {
		return "e" + name[1:]
	}
	return name
}

// callNumberName returns gdb's name of the register that keeps the number of a system call.
func (p *program) callNumberName() string {
	if p.abi == userspace.I386 {
		return "orig_eax"
	}
	return "orig_rax"
}

// ReadMemory reads what the program sees, and the kernel's half, which its page tables map too.
func (p *program) ReadMemory(ctx context.Context, _ gdbstub.ThreadID, addr uint64, b []byte) (int, error) {
	if p.physical {
		return p.readPhysical(ctx, addr, b)
	}
	space, err := p.current(ctx)
	if err != nil {
		return 0, err
	}
	return space.ReadMemory(ctx, addr, b)
}

// Description has gdb treat it as a Linux program: it looks for shared libraries.
func (p *program) Description() *tdesc.Description {
	var d *tdesc.Description
	switch p.abi {
	case userspace.I386:
		d = tdesc.I386()
	case userspace.X32:
		d = tdesc.X32()
		d.Features = append(d.Features, tdesc.SSEAMD64(), tdesc.LinuxAMD64())
	default:
		d = tdesc.AMD64()
		d.Features = append(d.Features, tdesc.SSEAMD64(), tdesc.LinuxAMD64())
	}
	d.OSABI = "GNU/Linux"
	return d
}

// Auxv returns the auxiliary vector, by which gdb finds where a position-independent program is.
func (p *program) Auxv(ctx context.Context) ([]byte, error) {
	return userspace.Auxv(ctx, p.m.Unwinder, p.leader)
}
