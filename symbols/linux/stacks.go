package linux

import (
	"context"

	"physgdb/symbols/linux/kmem"
)

// exceptionStacks are the members of struct cea_exception_stacks (arch/x86/include/asm/cpu_entry_area.h) and how the
// kernel's traces name them (stack_type_name, arch/x86/kernel/dumpstack_64.c). Later kernels and those without SEV lack some.
type exceptionStacks struct {
	DF  struct{} `c:"?DF_stack"`
	NMI struct{} `c:"?NMI_stack"`
	DB  struct{} `c:"?DB_stack"`
	MCE struct{} `c:"?MCE_stack"`
	VC  struct{} `c:"?VC_stack"`
	VC2 struct{} `c:"?VC2_stack"`
}

// exceptionStackNames are the fields of exceptionStacks and the names of the stacks.
var exceptionStackNames = []struct{ field, name string }{
	{"DF", "#DF"}, {"NMI", "NMI"}, {"DB", "#DB"}, {"MCE", "#MC"}, {"VC", "#VC"}, {"VC2", "#VC2"},
}

// readStacks finds the stacks that belong to CPUs rather than to tasks. A CPU that never came up has none.
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
				top += 8 // hardirq_stack_ptr leaves room for one word, the way back (arch/x86/kernel/irq_64.c)
				cpus.all[i].stacks = append(cpus.all[i].stacks, stack{"IRQ", top - size, top})
			}
		}
	}
	layout, err := kmem.NewStruct[exceptionStacks](types, "cea_exception_stacks")
	if err != nil {
		return nil // of another name in this kernel: traces through them are found all the same, only not named
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
				cpus.all[i].stacks = append(cpus.all[i].stacks, stack{s.name, start, start + m.Size})
			}
		}
	}
	return nil
}

// irqStackTops reads the hardirq_stack_ptr of every CPU: a per-CPU symbol up to Linux 6.1 and again later, a member of
// pcpu_hot in between.
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
func (c *CPU) stackAt(sp uint64) (stack, bool) {
	for _, s := range c.stacks {
		if s.contains(sp) {
			return s, true
		}
	}
	return stack{}, false
}

// StackName tells which stack an address belongs to, as the kernel's traces do: TASK for that of the task, IRQ, NMI, #DF and so
// on for those of the CPUs, or "" if it is none of them. A stack pointer belongs to the stack below whose end it stands.
func (k *Kernel) StackName(ctx context.Context, t *Task, sp uint64) string {
	if t.onStack(sp - 1) {
		return t.stack().name
	}
	cpus, err := k.CPUs(ctx)
	if err != nil {
		return ""
	}
	for i := range cpus {
		if s, ok := cpus[i].stackAt(sp - 1); ok {
			return s.name
		}
	}
	return ""
}
