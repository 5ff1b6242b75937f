package gdbstub

import (
	"context"
	"fmt"

	"physgdb/gdbstub/rsp"
)

// This file has the packets by which a session begins and ends. The machine is one process that is always there;
// what ends is never more than the session.

// stopReason answers `?`. Under extended-remote there is no process until the client attaches: otherwise VS Code's
// attach would kill it first and take that for the end of the session.
func (s *session) stopReason(ctx context.Context) reply {
	if s.process.detached {
		return text("W00")
	}
	if err := s.freshThreads(ctx); err != nil {
		return s.fail(codeRefused, err.Error())
	}
	return s.stopReply("T05", s.current)
}

// extend answers `!`: target extended-remote.
func (s *session) extend() reply {
	s.process = process{extended: true, detached: true}
	return ok()
}

// attach answers vAttach;<process>.
func (s *session) attach(ctx context.Context, args []byte) reply {
	if len(args) == 0 {
		return text(codeRefused)
	}
	pid, valid := rsp.ParseHex(args[1:])
	if !valid || pid != processID {
		return s.fail(codeRefused, fmt.Sprintf("There is no process %d here, only %d, the machine.", pid, processID))
	}
	if err := s.refreshThreads(ctx); err != nil {
		return s.fail(codeRefused, err.Error())
	}
	s.process.detached = false
	s.current = s.threads.all[0].ID // whichever was selected before an earlier detach
	return s.stopReply("T05", s.current)
}

// detach answers D and D;<process>.
func (s *session) detach() reply {
	s.process.detached = s.process.extended
	return reply{payload: []byte("OK"), end: !s.process.extended}
}

// kill answers vKill;<process>. The machine cannot be killed, but an error would keep the user from leaving.
func (s *session) kill() reply { return s.detach() }
