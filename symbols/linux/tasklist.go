package linux

import (
	"context"
	"fmt"
)

// byList goes through the list of processes, and of each through its threads, where the tree of pids was damaged: one
// step costs one read, so that a list is no way to begin with.
func (f *taskFinder) byList(ctx context.Context) error {
	if len(f.list.Damage) == 0 {
		return nil
	}
	first, ok := f.k.Addr("init_task")
	if !ok {
		return nil
	}
	head := first + f.l.Tasks.Offset
	threads, err := f.threadHead(ctx)
	if err != nil {
		return err
	}
	for _, next := range []int{forward, backward} {
		err := f.k.walkList(ctx, head, next, maxPID, f.damaged, func(node uint64) (bool, error) {
			return f.process(ctx, node-f.l.Tasks.Offset, threads)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// threadHead returns where a signal_struct has the list of its process's threads.
func (f *taskFinder) threadHead(ctx context.Context) (uint64, error) {
	types, err := f.k.Types(ctx)
	if err != nil {
		return 0, err
	}
	head, err := types.Field("signal_struct", "thread_head")
	return head.Offset, err
}

// process adds the threads of a process, given one of them. It reports whether that is a task at all.
func (f *taskFinder) process(ctx context.Context, leader, threads uint64) (bool, error) {
	r, err := f.l.task.readOne(ctx, f.k.Space, leader)
	if err != nil || !f.l.plausible(r) {
		f.damaged(fmt.Errorf("list of processes: no task at %#x", leader))
		return false, ctx.Err()
	}
	if f.l.PID.int(r) != 0 {
		f.add(leader, r)
	}
	head := f.l.Signal.uint(r) + threads
	err = f.k.walkList(ctx, head, forward, maxPID, f.damaged, func(node uint64) (bool, error) {
		addr := node - f.l.Node.Offset
		if f.list.byAddr[addr] != nil || f.l.PID.int(r) == 0 {
			return true, nil
		}
		t, err := f.l.task.readOne(ctx, f.k.Space, addr)
		if err != nil || !f.l.plausible(t) || f.l.TGID.int(t) != f.l.TGID.int(r) {
			f.damaged(fmt.Errorf("threads of pid %d: no thread of it at %#x", f.l.PID.int(r), addr))
			return false, ctx.Err()
		}
		f.add(addr, t)
		return true, nil
	})
	return true, err
}

// Which member of a struct list_head to follow (include/linux/types.h): its two pointers, 8 bytes each.
const forward, backward = 0, 8

// walkList visits the nodes of a circular list, from the one behind head on, until it comes back to head or visit says
// that it is not worth going on. What cannot be true of a list is told to damaged. The error is for the memory as a whole,
// or ctx.
func (k *Kernel) walkList(ctx context.Context, head uint64, direction, most int, damaged func(error),
	visit func(node uint64) (bool, error)) error {
	seen := map[uint64]bool{}
	at := head
	for {
		next, err := k.readUint(ctx, at+uint64(direction), 8)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			damaged(fmt.Errorf("list at %#x: %w", head, err))
			return nil
		case next == head:
			return nil
		case seen[next] || len(seen) >= most:
			damaged(fmt.Errorf("list at %#x: does not come back to its start, it runs in a circle at %#x", head, next))
			return nil
		}
		seen[next] = true
		if more, err := visit(next); err != nil || !more {
			return err
		}
		at = next
	}
}
