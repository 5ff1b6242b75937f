package kmem

import (
	"context"

	"physgdb/mmu"
)

// WalkList visits the nodes of a circular list, from the one that head points to, until a node
// points back to head or visit returns false. link is the offset in a node of the pointer to
// follow: that of list_head.next or list_head.prev. Damage of the list, and a list of more than
// maxNodes nodes, is added to d. The error is visit's, or ctx's.
func WalkList(
	ctx context.Context, sp *mmu.Space, head, link uint64, maxNodes int, d *Damage, visit func(node uint64) (bool, error),
) error {
	seen := map[uint64]bool{}
	at := head
	for {
		next, err := ReadUint(ctx, sp, at+link, 8)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			d.Add("list at %#x: %w", head, err)
			return nil
		case next == head:
			return nil
		case seen[next] || len(seen) >= maxNodes:
			d.Add("list at %#x: does not return to its head: it is circular at %#x", head, next)
			return nil
		}
		seen[next] = true
		if more, err := visit(next); err != nil || !more {
			return err
		}
		at = next
	}
}
