package module

import (
	"cmp"
	"context"
	"fmt"

	"physgdb/symbols/linux"
)

// use is struct module_use (include/linux/module.h).
type use struct {
	Next   uint64 `c:"source_list.next"`
	Prev   uint64 `c:"source_list.prev"`
	Source uint64 `c:"source"`
}

// usersWalk is the state of a walk through the list of users of a module.
type usersWalk struct {
	m        *Module
	head     uint64
	at, from uint64
}

// readUsers sets UsedBy: one batch reads the first user of every module, the next batch the second,
// and so on.
func (f *finder) readUsers(ctx context.Context, all []*Module) error {
	if !f.layout.Has("Users") {
		return nil
	}
	layout, err := linux.StructOf[use](ctx, f.k, "module_use")
	if err != nil {
		return err
	}
	byAddr := make(map[uint64]*Module, len(all))
	var walks []usersWalk
	for _, m := range all {
		byAddr[m.Addr] = m
		head := m.Addr + f.layout.Offset("Users")
		walks = append(walks, usersWalk{m, head, f.users[m], head})
	}
	for total := 0; ; {
		walks = unfinished(walks)
		if len(walks) == 0 {
			return nil
		}
		if total += len(walks); total > maxUses {
			f.damage.Add("modules are used by others more than %d times: damaged", maxUses)
			return nil
		}
		addrs := make([]uint64, len(walks))
		for i := range walks {
			addrs[i] = walks[i].at - layout.Offset("Next")
		}
		uses, errs, err := layout.Read(ctx, f.k.Space, addrs)
		if err != nil {
			return err
		}
		for i := range walks {
			if err := cmp.Or(errs[i], walks[i].step(&uses[i], byAddr)); err != nil {
				f.damage.Add("module %s: what it is used by: %w", walks[i].m.Name, err)
				walks[i].at = walks[i].head
			}
		}
	}
}

// unfinished returns the walks that have not returned to their head.
func unfinished(walks []usersWalk) []usersWalk {
	kept := walks[:0]
	for _, w := range walks {
		if w.at != w.head {
			kept = append(kept, w)
		}
	}
	return kept
}

// step adds one user and moves to the next.
func (w *usersWalk) step(u *use, byAddr map[uint64]*Module) error {
	user := byAddr[u.Source]
	if user == nil || u.Prev != w.from {
		return fmt.Errorf("the list is damaged at %#x", w.at)
	}
	if len(w.m.UsedBy) == len(byAddr) {
		return fmt.Errorf("the list has no end")
	}
	w.m.UsedBy = append(w.m.UsedBy, user.Name)
	w.from, w.at = w.at, u.Next
	return nil
}
