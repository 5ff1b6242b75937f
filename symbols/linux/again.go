package linux

import (
	"context"

	"physgdb/mmu"
)

// Again returns the same kernel with nothing remembered of what it knew, to be read through m: for a machine that has run
// on. What cannot have changed stays: where the kernel is, its symbols and its types.
func (k *Kernel) Again(ctx context.Context, m *mmu.MMU) (*Kernel, error) {
	again, err := k.derive(m, k.lastingRoot(ctx), k.Symbols, k.debug)
	if err != nil {
		return nil, err
	}
	again.borrowed = k.borrowed
	if types, err := k.Types(ctx); err == nil {
		again.types.Set(types)
	}
	return again, nil
}

// lastingRoot returns the root of the kernel's own page tables, as those of a process end with it; or what is known, if
// that is not.
func (k *Kernel) lastingRoot(ctx context.Context) mmu.Root {
	root := k.Space.Root()
	addr, ok := k.Addr("init_top_pgt")
	if !ok {
		return root
	}
	if mp, err := k.Space.Translate(ctx, addr); err == nil {
		root.CR3 = uint64(mp.Phys(addr))
	}
	return root
}
