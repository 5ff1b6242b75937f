package machine

import (
	"context"

	"physgdb/bridge"
	"physgdb/mmu"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/unwind"
)

// Refresh returns a live machine as it is now, without anything that was cached. It shares the
// bridge with m and is not closed.
func (m *Machine) Refresh(ctx context.Context) (*Machine, error) {
	now := *m
	now.Memory = m.Memory.uncached()
	var err error
	if now.Kernel, err = m.Kernel.Again(ctx, newWalker(now.Memory)); err != nil {
		return nil, err
	}
	now.Unwinder = unwind.New(now.Kernel)
	if !m.SpaceChosen {
		now.Space = now.Kernel.Space
		return &now, nil
	}
	now.Space, err = now.Kernel.SpaceOf(ctx, m.Space.Root().CR3)
	return &now, err
}

// newWalker returns an MMU over m.
func newWalker(m *Memory) *mmu.MMU {
	return mmu.New(m, &mmu.Options{Resident: linux.Resident})
}

// uncached returns the same memory with an empty cache.
func (m *Memory) uncached() *Memory {
	again := *m
	if bridge.ViewerOf(m.Memory) == nil {
		again.Memory = bridge.NewCache(m.guard, cacheSize)
	}
	return &again
}
