package linux

import (
	"context"

	"physgdb/symbols/linux/kmem"
)

// exceptionStacks is struct cea_exception_stacks (arch/x86/include/asm/cpu_entry_area.h). Later
// kernels and those without SEV lack some members.
type exceptionStacks struct {
	DF  struct{} `c:"?DF_stack"`
	NMI struct{} `c:"?NMI_stack"`
	DB  struct{} `c:"?DB_stack"`
	MCE struct{} `c:"?MCE_stack"`
	VC  struct{} `c:"?VC_stack"`
	VC2 struct{} `c:"?VC2_stack"`
}

// exceptionStackNames are the fields of exceptionStacks with the names of the stacks in the
// kernel's traces (stack_type_name, arch/x86/kernel/dumpstack_64.c).
var exceptionStackNames = []struct{ field, name string }{
	{"DF", "#DF"}, {"NMI", "NMI"}, {"DB", "#DB"}, {"MCE", "#MC"}, {"VC", "#VC"}, {"VC2", "#VC2"},
}

// readStacks finds the interrupt and exception stacks of the CPUs. A CPU that never came up has
// none.
func (k *Kernel) readStacks(ctx context.Context, cpus *cpuList) error {
	types, err := k.Types(ctx)
	if err != nil {
		return err
	}
	if size, err := types.Size("irq_stack"); err == nil {
		tops, err := k.irqStackTops(ctx, cpus)
		if err != nil {
			return err
		}
		for i, top := range tops {
			if top != 0 {
				top += 8 // hardirq_stack_ptr points below the last word, which is reserved (arch/x86/kernel/irq_64.c)
				cpus.all[i].Stacks = append(cpus.all[i].Stacks, Stack{"IRQ", top - size, top})
			}
		}
	}
	layout, err := kmem.NewStruct[exceptionStacks](types, "cea_exception_stacks")
	if err != nil {
		return nil // another name in this kernel: the stacks are unwound, but have no names
	}
	addr, ok := k.Addr("cea_exception_stacks")
	if !ok {
		return nil
	}
	bases, err := k.readPerCPU(ctx, addr, cpus)
	if err != nil {
		return err
	}
	for i, base := range bases {
		for _, s := range exceptionStackNames {
			m := layout.Member(s.field)
			if start := base + m.Offset; base != 0 && m.Size > 0 {
				cpus.all[i].Stacks = append(cpus.all[i].Stacks, Stack{s.name, start, start + m.Size})
			}
		}
	}
	return nil
}

// irqStackTops reads hardirq_stack_ptr of every CPU: a member of pcpu_hot from 6.2 to 6.14, and
// otherwise a per-CPU symbol.
func (k *Kernel) irqStackTops(ctx context.Context, cpus *cpuList) ([]uint64, error) {
	if addr, ok := k.Addr("hardirq_stack_ptr"); ok {
		return k.readPerCPU(ctx, addr, cpus)
	}
	addr, ok := k.Addr("pcpu_hot")
	types, err := k.Types(ctx)
	if err != nil || !ok {
		return make([]uint64, len(cpus.all)), err
	}
	f, err := types.Field("pcpu_hot", "hardirq_stack_ptr")
	if err != nil {
		return make([]uint64, len(cpus.all)), nil
	}
	return k.readPerCPU(ctx, addr+f.Offset, cpus)
}

// stackAt finds the stack that an address lies in.
func (c *CPU) stackAt(sp uint64) (Stack, bool) {
	for _, s := range c.Stacks {
		if s.Contains(sp) {
			return s, true
		}
	}
	return Stack{}, false
}

// OnStack reports whether an address is on the kernel stack of the task.
func (t *Task) OnStack(sp uint64) bool { return t.OwnStack().Contains(sp) }

// OwnStack returns the kernel stack of the task.
func (t *Task) OwnStack() Stack { return Stack{"TASK", t.Stack, t.StackEnd()} }

// OnStack reports whether an address is on one of the CPU's Stacks.
func (c *CPU) OnStack(sp uint64) bool {
	_, ok := c.stackAt(sp)
	return ok
}

// StackName returns the name of the stack that a stack pointer belongs to, as in the kernel's
// traces: TASK for the stack of t; IRQ, NMI, #DF and so on for those of CPUs; "" for others. A
// pointer to the end of a stack belongs to that stack.
func (k *Kernel) StackName(ctx context.Context, t *Task, sp uint64) string {
	if t.OnStack(sp - 1) {
		return t.OwnStack().Name
	}
	cpus, err := k.CPUs(ctx)
	if err != nil {
		return ""
	}
	for i := range cpus {
		if s, ok := cpus[i].stackAt(sp - 1); ok {
			return s.Name
		}
	}
	return ""
}
