package linux

import "context"

// byList goes through the list of processes, and of each through its threads, where the tree of pids was damaged: one
// step costs one read, so that a list is no way to begin with.
func (f *taskFinder) byList(ctx context.Context) error {
	if len(f.damage.told) == 0 {
		return nil
	}
	first, ok := f.k.Addr("init_task")
	if !ok {
		return nil
	}
	head := first + f.l.Tasks.Offset
	lists, err := f.lists(ctx)
	if err != nil {
		return err
	}
	for _, link := range []uint64{lists.next, lists.prev} {
		err := f.k.walkList(ctx, head, link, maxTasks, &f.damage, func(node uint64) (bool, error) {
			return f.process(ctx, node-f.l.Tasks.Offset, lists)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lists is where the kernel's lists have their pointers.
type lists struct {
	next, prev uint64 // in a list_head
	threads    uint64 // the head of the list of a process's threads, in its signal_struct
}

func (f *taskFinder) lists(ctx context.Context) (l lists, err error) {
	types, err := f.k.Types(ctx)
	if err != nil {
		return l, err
	}
	for _, m := range []struct {
		at        *uint64
		typ, path string
	}{{&l.next, "list_head", "next"}, {&l.prev, "list_head", "prev"}, {&l.threads, "signal_struct", "thread_head"}} {
		field, err := types.Field(m.typ, m.path)
		if err != nil {
			return l, err
		}
		*m.at = field.Offset
	}
	return l, nil
}

// process adds the threads of a process, given one of them. It reports whether that is a task at all.
func (f *taskFinder) process(ctx context.Context, leader uint64, l lists) (bool, error) {
	if f.cut {
		return false, nil
	}
	r, err := f.l.task.readOne(ctx, f.k.Space, leader)
	if err != nil {
		f.damage.add("list of processes: %w", err)
		return false, ctx.Err()
	}
	if !f.l.plausible(r) {
		f.damage.add("list of processes: no task at %#x", leader)
		return false, nil
	}
	if f.l.PID.int(r) != 0 {
		f.add(leader, r)
	}
	head := f.l.Signal.uint(r) + l.threads
	err = f.k.walkList(ctx, head, l.next, maxTasks, &f.damage, func(node uint64) (bool, error) {
		if f.cut {
			return false, nil
		}
		addr := node - f.l.Node.Offset
		if f.byAddr[addr] != nil || f.l.PID.int(r) == 0 {
			return true, nil
		}
		t, err := f.l.task.readOne(ctx, f.k.Space, addr)
		if err != nil {
			f.damage.add("threads of pid %d: %w", f.l.PID.int(r), err)
			return false, ctx.Err()
		}
		if !f.l.plausible(t) || f.l.TGID.int(t) != f.l.TGID.int(r) {
			f.damage.add("threads of pid %d: no thread of it at %#x", f.l.PID.int(r), addr)
			return false, nil
		}
		f.add(addr, t)
		return true, nil
	})
	return true, err
}

// walkList visits the nodes of a circular list, from the one that head leads to on, until it comes back to head or visit
// says that it is not worth going on. link is where a node has the pointer to follow. What cannot be true of a list is told
// to d. The error is for the memory as a whole, or ctx.
func (k *Kernel) walkList(ctx context.Context, head, link uint64, most int, d *damage,
	visit func(node uint64) (bool, error)) error {
	seen := map[uint64]bool{}
	at := head
	for {
		next, err := k.readUint(ctx, at+link, 8)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			d.add("list at %#x: %w", head, err)
			return nil
		case next == head:
			return nil
		case seen[next] || len(seen) >= most:
			d.add("list at %#x: does not come back to its start, it runs in a circle at %#x", head, next)
			return nil
		}
		seen[next] = true
		if more, err := visit(next); err != nil || !more {
			return err
		}
		at = next
	}
}
