package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"physgdb/symbols/linux/kmem"
)

// CPU is a CPU of the machine, online or not: after a panic, only the panicking CPU is in the mask
// of online CPUs.
type CPU struct {
	ID int
	// Base is the difference between the address of this CPU's copy of a per-CPU symbol and that of
	// the symbol. It is also the GS base while the CPU runs kernel code.
	Base uint64
	// Current is the virtual address of the task_struct that ran last, and Idle that of the CPU's
	// idle task; 0 if not known.
	Current, Idle uint64
	// Offline reports whether the CPU never came up or was taken offline. Current is then 0.
	Offline bool

	// Stacks are its stacks other than those of tasks.
	Stacks []Stack
}

// Stack is a stack of a CPU or task, in virtual addresses.
type Stack struct {
	Name       string // as in the kernel's own traces: IRQ, NMI, #DF
	Start, End uint64
}

// Contains reports whether an address is on the stack.
func (s Stack) Contains(sp uint64) bool { return s.Start <= sp && sp < s.End }

// runQueue is struct rq (kernel/sched/sched.h).
type runQueue struct {
	Current uint64 `c:"curr"`
	Idle    uint64 `c:"idle"`
}

// cpuList is the CPUs of a machine. Members that could not be read are 0.
type cpuList struct {
	all []CPU
	kmem.Timeouts
}

// CPUs returns the possible CPUs of the machine in the order of their numbers.
func (k *Kernel) CPUs(ctx context.Context) ([]CPU, error) {
	list, err := k.cpus.Get(ctx, k.readCPUs)
	if err != nil {
		return nil, err
	}
	return list.all, nil
}

func (k *Kernel) readCPUs(ctx context.Context) (*cpuList, error) {
	ids, err := k.PossibleCPUs(ctx)
	if err != nil {
		return nil, err
	}
	cpus := &cpuList{all: make([]CPU, len(ids))}
	if err := k.readBases(ctx, ids, cpus.all); err != nil {
		return nil, err
	}
	if err := k.readRunQueues(ctx, cpus); err != nil {
		return nil, err
	}
	if err := k.findOffline(ctx, cpus); err != nil {
		return nil, err
	}
	return cpus, k.readStacks(ctx, cpus)
}

// PossibleCPUs returns the numbers in __cpu_possible_mask. It needs no type information.
func (k *Kernel) PossibleCPUs(ctx context.Context) ([]int, error) {
	n, err := k.ReadSymbol(ctx, "nr_cpu_ids", 4)
	if err != nil {
		return nil, err
	}
	const maxCPUs = 8192 // the largest NR_CPUS of x86-64
	if n == 0 || n > maxCPUs {
		return nil, fmt.Errorf("nr_cpu_ids is %d: damaged memory", n)
	}
	addr, ok := k.Addr("__cpu_possible_mask")
	if !ok {
		return nil, k.NoSymbol("__cpu_possible_mask")
	}
	mask := make([]byte, (n+63)/64*8)
	if _, err := k.Space.ReadMemory(ctx, addr, mask); err != nil {
		return nil, fmt.Errorf("__cpu_possible_mask: %w", err)
	}
	var ids []int
	for i := range int(n) {
		if mask[i/8]>>(i%8)&1 != 0 {
			ids = append(ids, i)
		}
	}
	if len(ids) == 0 {
		return nil, errors.New("__cpu_possible_mask is empty: damaged memory")
	}
	return ids, nil
}

// readBases reads the base of each CPU's per-CPU data.
func (k *Kernel) readBases(ctx context.Context, ids []int, cpus []CPU) error {
	addr, ok := k.Addr("__per_cpu_offset")
	if !ok {
		return k.NoSymbol("__per_cpu_offset")
	}
	table := make([]byte, 8*(ids[len(ids)-1]+1))
	if _, err := k.Space.ReadMemory(ctx, addr, table); err != nil {
		return fmt.Errorf("__per_cpu_offset: %w", err)
	}
	for i, id := range ids {
		cpus[i] = CPU{ID: id, Base: binary.LittleEndian.Uint64(table[8*id:])}
	}
	return nil
}

// readRunQueues reads the current and the idle task of each CPU.
func (k *Kernel) readRunQueues(ctx context.Context, cpus *cpuList) error {
	layout, err := StructOf[runQueue](ctx, k, "rq")
	if err != nil {
		return err
	}
	addr, ok := k.Addr("runqueues")
	if !ok {
		return k.readCurrentTasks(ctx, cpus)
	}
	queues, errs, err := layout.Read(ctx, k.Space, perCPU(addr, cpus.all))
	if err != nil {
		return err
	}
	for i, q := range queues {
		// A CPU whose queue cannot be read is listed without a task: its memory may be damaged, or
		// it never came up.
		cpus.Note(errs[i])
		cpus.all[i].Current, cpus.all[i].Idle = q.Current, q.Idle
	}
	return nil
}

// readCurrentTasks reads the current task of each CPU from the per-CPU variable current_task, which
// is in pcpu_hot from 6.2 to 6.14. It is used if the address of runqueues is not known, which is
// not exported to modules. Idle tasks remain unknown.
func (k *Kernel) readCurrentTasks(ctx context.Context, cpus *cpuList) error {
	addr, ok := k.Addr("current_task")
	if !ok {
		if addr, ok = k.Addr("pcpu_hot"); !ok {
			return k.NoSymbol("runqueues")
		}
		types, err := k.Types(ctx)
		if err != nil {
			return err
		}
		f, err := types.Field("pcpu_hot", "current_task")
		if err != nil {
			return err
		}
		addr += f.Offset
	}
	tasks, err := k.readPerCPU(ctx, addr, cpus)
	if err != nil {
		return err
	}
	for i, task := range tasks {
		cpus.all[i].Current = task
	}
	return nil
}

// hotplugState is struct cpuhp_cpu_state (kernel/cpu.c): how far a CPU came up. Unlike the mask of
// online CPUs, it does not change when a panicking kernel stops the other CPUs.
type hotplugState struct {
	State uint64 `c:"state"`
}

// cpuOffline is the state of a CPU that is not up at all (CPUHP_OFFLINE,
// include/linux/cpuhotplug.h).
const cpuOffline = 0

// findOffline finds the CPUs that were not up, which includes possible CPUs that the machine does
// not have. If the kernel has no cpuhp_state, all CPUs count as up.
func (k *Kernel) findOffline(ctx context.Context, cpus *cpuList) error {
	addr, ok := k.Addr("cpuhp_state")
	if !ok {
		return nil
	}
	layout, err := StructOf[hotplugState](ctx, k, "cpuhp_cpu_state")
	if err != nil {
		return ctx.Err()
	}
	states, errs, err := layout.Read(ctx, k.Space, perCPU(addr, cpus.all))
	if err != nil {
		return err
	}
	for i, s := range states {
		cpus.Note(errs[i])
		c := &cpus.all[i]
		if errs[i] == nil && s.State == cpuOffline && c.Current == c.Idle { // otherwise the state is damaged
			c.Offline, c.Current = true, 0
		}
	}
	return nil
}

// perCPU returns the address of each CPU's copy of a per-CPU symbol.
func perCPU(addr uint64, cpus []CPU) []uint64 {
	addrs := make([]uint64, len(cpus))
	for i := range cpus {
		addrs[i] = cpus[i].Base + addr
	}
	return addrs
}

// PerCPU returns the virtual address of a CPU's copy of a per-CPU symbol.
func (k *Kernel) PerCPU(ctx context.Context, name string, cpu int) (uint64, error) {
	addr, ok := k.Addr(name)
	if !ok {
		return 0, k.NoSymbol(name)
	}
	if !k.isPerCPU(addr) {
		return 0, fmt.Errorf("%s is no per-CPU symbol: there is one for all CPUs, at %#x", name, addr)
	}
	cpus, err := k.CPUs(ctx)
	if err != nil {
		return 0, err
	}
	for i := range cpus {
		if cpus[i].ID != cpu {
			continue
		}
		if at := cpus[i].Base + addr; cpus[i].Base != 0 && int64(at) < 0 {
			return at, nil
		}
		return 0, fmt.Errorf("__per_cpu_offset[%d] is %#x: damaged memory", cpu, cpus[i].Base)
	}
	return 0, fmt.Errorf("there is no CPU %d: %d CPUs, the last is %d", cpu, len(cpus), cpus[len(cpus)-1].ID)
}

// CR4 returns the CR4 of a CPU, of which the kernel keeps a copy (cpu_tlbstate.cr4,
// arch/x86/include/asm/tlbflush.h, 6.1 to 7.3).
func (k *Kernel) CR4(ctx context.Context, cpu int) (uint64, error) {
	types, err := k.Types(ctx)
	if err != nil {
		return 0, err
	}
	field, err := types.Field("tlb_state", "cr4")
	if err != nil {
		return 0, err
	}
	state, err := k.PerCPU(ctx, "cpu_tlbstate", cpu)
	if err != nil {
		return 0, err
	}
	return kmem.ReadUint(ctx, k.Space, state+field.Offset, 8)
}

// IDT returns the address of the interrupt descriptor table and its size minus one, as loaded into
// every CPU (idt_descr, arch/x86/kernel/idt.c, 5.10 to 6.12; struct desc_ptr).
func (k *Kernel) IDT(ctx context.Context) (base uint64, limit uint16, err error) {
	addr, ok := k.Addr("idt_descr")
	if !ok {
		return 0, 0, k.NoSymbol("idt_descr")
	}
	var desc [10]byte
	if _, err := k.Space.ReadMemory(ctx, addr, desc[:]); err != nil {
		return 0, 0, fmt.Errorf("idt_descr: %w", err)
	}
	return binary.LittleEndian.Uint64(desc[2:]), binary.LittleEndian.Uint16(desc[:]), nil
}

// IsPerCPU reports whether addr, the address of a symbol, is that of a per-CPU variable of an SMP
// kernel. The memory there belongs to no CPU: since 6.15 it is the template that the kernel copied
// for each CPU and then freed.
func (k *Kernel) IsPerCPU(addr uint64) bool {
	_, several := k.Addr("__per_cpu_offset")
	return several && k.isPerCPU(addr)
}

// isPerCPU reports whether an address is that of a per-CPU symbol: a small number before Linux
// 6.15, and an address in the image since then.
func (k *Kernel) isPerCPU(addr uint64) bool {
	start, ok1 := k.Addr("__per_cpu_start")
	end, ok2 := k.Addr("__per_cpu_end")
	return ok1 && ok2 && start <= addr && addr < end
}

// readPerCPU reads the 8 bytes at a per-CPU address of every CPU; those that cannot be read are 0.
func (k *Kernel) readPerCPU(ctx context.Context, addr uint64, cpus *cpuList) ([]uint64, error) {
	words, errs, err := kmem.ReadWords(ctx, k.Space, perCPU(addr, cpus.all))
	for _, err := range errs {
		cpus.Note(err)
	}
	return words, err
}
