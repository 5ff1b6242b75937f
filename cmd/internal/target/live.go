package host

import (
	"context"

	"physgdb/bridge"
	"physgdb/gdbstub"
	"physgdb/mmu"
	"physgdb/symbols/linux"
)

// look returns a machine that runs as it is now: nothing is remembered of what it was. It shares the bridge with m.
func (m *Machine) look(ctx context.Context) (*Machine, error) {
	now := *m
	now.Memory = m.Memory.afresh()
	var err error
	if now.Kernel, err = m.Kernel.Again(ctx, newWalker(now.Memory)); err != nil {
		return nil, err
	}
	if !m.chosen {
		now.Space = now.Kernel.Space
		return &now, nil
	}
	now.Space, err = now.Kernel.SpaceOf(ctx, m.Space.Root().CR3)
	return &now, err
}

// newWalker makes what walks page tables in a memory. It is given no m.Memory, which could show memory in place for all
// that mmu can tell: where it cannot, reads are to be batches.
func newWalker(m *Memory) *mmu.MMU {
	return mmu.New(m.Memory, &mmu.Options{Resident: linux.Resident})
}

// afresh returns the same memory with a cache that is empty.
func (m *Memory) afresh() *Memory {
	again := *m
	if bridge.ViewerOf(m.Memory) == nil {
		again.Memory = bridge.NewCache(m.guard, cacheSize)
	}
	return &again
}

// liveSession is a session with a machine that runs.
type liveSession struct{ *session }

// newLiveSession opens a machine that runs, as it is now.
func (m *Machine) newLiveSession(ctx context.Context) (gdbstub.Target, error) {
	now, err := m.look(ctx)
	if err != nil {
		return nil, err
	}
	return &liveSession{now.newSession(ctx)}, nil
}

// Refresh takes the machine as it is now.
func (s *liveSession) Refresh(ctx context.Context) error {
	now, err := s.m.look(ctx)
	if err != nil {
		return err
	}
	s.forget(ctx, now)
	if s.space != nil {
		s.space, err = now.Kernel.SpaceOf(ctx, s.space.Root().CR3)
	}
	return err
}

// OpenProcess opens one of the machine's programs, as it is now.
func (s *liveSession) OpenProcess(ctx context.Context, pid int) (gdbstub.Target, error) {
	p, err := s.openProgram(ctx, pid)
	if err != nil {
		return nil, err
	}
	return &liveProgram{p}, nil
}

// liveProgram is a program of a machine that runs.
type liveProgram struct{ *program }

// Refresh takes the program as it is now.
func (p *liveProgram) Refresh(ctx context.Context) error {
	now, err := p.shell.m.look(ctx)
	if err != nil {
		return err
	}
	again, err := now.newSession(ctx).openProgram(ctx, p.leader.PID)
	if err != nil {
		return err
	}
	again.shell.physical = p.shell.physical
	if chosen := p.shell.space; chosen != nil {
		if again.shell.space, err = now.Kernel.SpaceOf(ctx, chosen.Root().CR3); err != nil {
			return err
		}
	}
	*p.program = *again
	return nil
}

// whyNotStepped is what a user reads who tries to step a machine that runs.
const whyNotStepped = "This machine runs, and is not stopped by being looked at: continue, then Ctrl-C, shows it as it is then; " +
	"it cannot be stepped."
