package linux

import (
	"context"

	"physgdb/mmu"
)

// Again returns the same kernel, read through m, with no cached results: for a machine that has run
// since. The location of the kernel, its symbols and its types cannot change and are kept.
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

// lastingRoot returns the root of the kernel's own page tables, because those of a process end with
// it. If it is not known, the current root is returned.
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
