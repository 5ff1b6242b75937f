package linux

import (
	"context"
	"fmt"

	"physgdb/symbols/linux/kmem"

	"physgdb/mmu"
)

// TaskSpace returns the address space of a task: its process's, or the kernel's for a kernel
// thread.
func (k *Kernel) TaskSpace(ctx context.Context, t *Task) (*mmu.Space, error) {
	if t.MM == 0 {
		return k.Space, nil
	}
	cr3, err := k.TaskCR3(ctx, t)
	if err != nil {
		return nil, err
	}
	return k.SpaceOf(ctx, cr3)
}

// TaskCR3 returns the physical address of the top-level page table of a task's process, or that of
// the kernel for a kernel thread.
func (k *Kernel) TaskCR3(ctx context.Context, t *Task) (uint64, error) {
	if t.MM == 0 {
		return k.Space.Root().CR3, nil
	}
	types, err := k.Types(ctx)
	if err != nil {
		return 0, err
	}
	pgd, err := types.Field("mm_struct", "pgd")
	if err != nil {
		return 0, err
	}
	table, err := kmem.ReadUint(ctx, k.Space, t.MM+pgd.Offset, 8)
	if err != nil {
		return 0, fmt.Errorf("page table of task %d: %w", t.PID, err)
	}
	mp, err := k.Space.Translate(ctx, table) // page tables are in the direct map
	if err != nil {
		return 0, fmt.Errorf("page table of task %d at %#x: %w", t.PID, table, err)
	}
	return uint64(mp.Phys(table)), nil
}
