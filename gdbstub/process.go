package gdbstub

import "context"

// stopReason answers `?`. Under extended-remote there is no process until the client attaches:
// otherwise VS Code's attach would kill it first and take that for the end of the session.
func (s *session) stopReason(ctx context.Context) reply {
	if len(s.inferiors) == 0 {
		return text("W00")
	}
	if err := s.freshThreads(ctx, s.selected); err != nil {
		return s.fail(codeRefused, err.Error())
	}
	return s.stopReply(signalTrap, s.selected, s.selected.current)
}

// extend answers `!`: target extended-remote, by which the connection outlives the processes.
func (s *session) extend(ctx context.Context) reply {
	s.close(ctx)
	s.running = running{}
	s.extended, s.selected = true, s.machine
	return ok()
}
