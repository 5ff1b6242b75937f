package target

import (
	"context"

	"physgdb/gdbstub"
)

// liveSession is a session with a machine that runs.
type liveSession struct{ *session }

// Refresh takes the machine as it is now.
func (s *liveSession) Refresh(ctx context.Context) error {
	now, err := s.m.Refresh(ctx)
	if err != nil {
		return err
	}
	s.reset(ctx, now)
	if s.space != nil {
		s.space, err = now.Kernel.SpaceOf(ctx, s.space.Root().CR3)
	}
	return err
}

// OpenProcess opens one of the machine's programs, as it is now.
func (s *liveSession) OpenProcess(ctx context.Context, pid int) (gdbstub.Target, error) {
	p, err := openProgram(ctx, s.m, s.cpusOnly, pid)
	if err != nil {
		return nil, err
	}
	return &liveProgram{p}, nil
}

// liveProgram is a program of a machine that runs.
type liveProgram struct{ *program }

// Refresh takes the program as it is now.
func (p *liveProgram) Refresh(ctx context.Context) error {
	now, err := p.m.Refresh(ctx)
	if err != nil {
		return err
	}
	again, err := openProgram(ctx, now, p.cpusOnly, p.leader.PID)
	if err != nil {
		return err
	}
	again.physical = p.physical
	if p.space != nil {
		if again.space, err = now.Kernel.SpaceOf(ctx, p.space.Root().CR3); err != nil {
			return err
		}
	}
	*p.program = *again
	return nil
}

// whyNotStepped is the answer to a step of a machine that runs.
const whyNotStepped = "This machine runs, and is not stopped by being looked at: continue, then Ctrl-C, shows it as it is then; " +
	"it cannot be stepped."
