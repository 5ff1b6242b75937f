package linux

import (
	"context"

	"physgdb/symbols/linux/kmem"
)

// byList reads the list of processes and the threads of each, if the tree of pids is damaged. Each
// step along a list costs a round trip, so that lists are only the fallback.
func (f *taskFinder) byList(ctx context.Context) error {
	if !f.damage.Any() {
		return nil
	}
	first, ok := f.k.Addr("init_task")
	if !ok {
		return nil
	}
	node := f.r.Offset("Tasks")
	head := first + node
	lists, err := f.lists(ctx)
	if err != nil {
		return err
	}
	for _, link := range []uint64{lists.next, lists.prev} {
		err := kmem.WalkList(ctx, f.k.Space, head, link, maxTasks, &f.damage, func(at uint64) (bool, error) {
			return f.process(ctx, at-node, lists)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lists are the offsets of the pointers in the kernel's lists.
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

// process adds the threads of a process, given one of them. It reports whether that is a task.
func (f *taskFinder) process(ctx context.Context, leader uint64, l lists) (bool, error) {
	if f.cut {
		return false, nil
	}
	s, err := f.r.ReadOne(ctx, f.k.Space, leader)
	if err != nil {
		f.damage.Add("list of processes: %w", err)
		return false, ctx.Err()
	}
	if !s.plausible() {
		f.damage.Add("list of processes: no task at %#x", leader)
		return false, nil
	}
	if s.PID != 0 {
		f.add(leader, s)
	}
	head := s.Signal + l.threads
	err = kmem.WalkList(ctx, f.k.Space, head, l.next, maxTasks, &f.damage, func(node uint64) (bool, error) {
		if f.cut {
			return false, nil
		}
		addr := node - f.r.Offset("Node")
		if f.byAddr[addr] != nil || s.PID == 0 {
			return true, nil
		}
		t, err := f.r.ReadOne(ctx, f.k.Space, addr)
		if err != nil {
			f.damage.Add("threads of pid %d: %w", s.PID, err)
			return false, ctx.Err()
		}
		if !t.plausible() || t.TGID != s.TGID {
			f.damage.Add("threads of pid %d: no thread of it at %#x", s.PID, addr)
			return false, nil
		}
		f.add(addr, t)
		return true, nil
	})
	return true, err
}
