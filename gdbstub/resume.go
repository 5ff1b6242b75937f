package gdbstub

import (
	"bytes"
	"context"
)

// vCont answers vCont? and vCont;action[:thread];… (gdb manual, appendix E.2). Both c and C must be offered, or gdb
// falls back to older packets.
func (s *session) vCont(ctx context.Context, args []byte) reply {
	if string(args) == "?" {
		return text("vCont;c;C;s;S")
	}
	goes := true
	for action := range bytes.SplitSeq(bytes.TrimPrefix(args, []byte(";")), []byte(";")) {
		goes = goes && len(action) > 0 && (action[0] == 'c' || action[0] == 'C')
	}
	in, id := s.resumedThread(ctx, args)
	return s.resume(goes, in, id)
}

// resumedThread returns the thread that a vCont names, which is the one the user steps, or else the one that stopped last.
func (s *session) resumedThread(ctx context.Context, actions []byte) (*inferior, ThreadID) {
	for action := range bytes.SplitSeq(actions, []byte(";")) {
		_, arg, _ := bytes.Cut(action, []byte(":"))
		if in, id, found := s.findOne(ctx, arg); found {
			return in, id
		}
	}
	return s.lastStopped()
}

// lastStopped returns the thread that the last stop was told of. The one that Hg selected would not do: a client that has
// listed all threads leaves the last of them selected, and would find itself there when it goes on from another.
func (s *session) lastStopped() (*inferior, ThreadID) {
	if in := s.attached(s.stopped.pid); in != nil {
		if _, alive := in.threads.index[s.stopped.id]; alive {
			return in, s.stopped.id
		}
	}
	return s.inferior, s.current
}

// resume lets a machine run that runs anyway: the client waits until the user presses Ctrl-C. All else is refused: steps,
// and whatever would make a dead machine run.
func (s *session) resume(goes bool, in *inferior, id ThreadID) reply {
	if goes && s.machine.can.runner != nil {
		s.running = true
		return silence()
	}
	return s.refuseResume(in, id)
}

// refuseResume answers a request to run that cannot be: a sentence on the console and a stop by SIGINT, at once. Any other
// reply makes some client step for ever, hang, or give up the connection.
func (s *session) refuseResume(in *inferior, id ThreadID) reply {
	if err := s.print([]byte(in.can.whyHalted + "\n")); err != nil {
		return reply{silent: true, end: true}
	}
	return s.stopReply("T02", in, id)
}

// interrupt answers Ctrl-C. Where the client waits for the machine to stop, that is taken for a wish to look again. At any
// other time there is nothing to stop, and a reply would be one too many.
func (s *session) interrupt(ctx context.Context) reply {
	if !s.running {
		return silence()
	}
	s.running = false
	for _, in := range s.inferiors {
		if err := s.lookAgain(ctx, in); err != nil && s.print([]byte(err.Error()+"\n")) != nil {
			return reply{silent: true, end: true}
		}
	}
	in, id := s.lastStopped()
	return s.stopReply("T02", in, id)
}

// lookAgain has an inferior forget what it was.
func (s *session) lookAgain(ctx context.Context, in *inferior) error {
	if runner := in.can.runner; runner != nil {
		_, err := ask(ctx, in.worker, func(ctx context.Context, _ Target) (struct{}, error) {
			return struct{}{}, runner.LookAgain(ctx)
		})
		if err != nil {
			return err
		}
	}
	return s.refreshThreads(ctx, in)
}

// stopReply says that a thread has stopped, and selects it: gdb asks for its registers without another Hg. Without a list of
// threads it names none, which is legal, too.
func (s *session) stopReply(signal string, in *inferior, id ThreadID) reply {
	s.inferior, in.current, s.stopped = in, id, threadRef{in.pid, id}
	if id == 0 {
		return text(signal)
	}
	s.out = append(s.appendThreadID(append(s.out[:0], signal+"thread:"...), in.pid, id), ';')
	return reply{payload: s.appendStop(s.out, id)}
}
