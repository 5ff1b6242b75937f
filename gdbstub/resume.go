package gdbstub

import (
	"bytes"
	"context"
	"fmt"

	"physgdb/internal/plain"
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

// signal is a reason to stop (gdb manual, appendix E.3). These have the same number for every client, while gdb and lldb do
// not agree on others: gdb has numbers of its own (include/gdb/signals.def).
type signal int

const (
	signalInterrupt signal = 2
	signalTrap      signal = 5
	signalAbort     signal = 6
)

// maxRefused is how often a client may ask to run without a look at the threads in between. Debuggers list them as soon as
// they stop for their user, and go on at once if he has told them not to stop at SIGINT (gdb's `handle SIGINT nostop`).
const maxRefused = 16

// refuseResume answers a request to run that cannot be: a sentence on the console and a stop by SIGINT, at once. Any other
// reply makes some client step for ever, hang, or give up the connection. A client that goes on all the same would do so for
// ever, deaf to Ctrl-C: it is told of a signal that nobody has reason to pass over.
func (s *session) refuseResume(in *inferior, id ThreadID) reply {
	why := plain.Text(in.can.whyHalted) + "\n"
	if s.client.lldb && s.machine.can.runner != nil {
		why += "At continue lldb takes up this step again, until told: thread plan discard 1\n"
	}
	if err := s.print([]byte(why)); err != nil {
		return reply{silent: true, end: true}
	}
	s.refused++
	if s.refused > maxRefused {
		s.refused = 0
		return s.stopReply(signalAbort, in, id)
	}
	return s.stopReply(signalInterrupt, in, id)
}

// interrupt answers Ctrl-C. Where the client waits for the machine to stop, that is taken for a wish to look again. At any
// other time there is nothing to stop, and a reply would be one too many.
func (s *session) interrupt(ctx context.Context) reply {
	if !s.running {
		return silence()
	}
	s.running = false
	for _, in := range s.inferiors {
		if err := s.lookAgain(ctx, in); err != nil && s.print([]byte(plain.Text(err.Error())+"\n")) != nil {
			return reply{silent: true, end: true}
		}
	}
	in, id := s.lastStopped()
	return s.stopReply(signalInterrupt, in, id)
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
func (s *session) stopReply(why signal, in *inferior, id ThreadID) reply {
	s.inferior, in.current, s.stopped = in, id, threadRef{in.pid, id}
	s.out = fmt.Appendf(s.out[:0], "T%02x", int(why))
	if id == 0 {
		return reply{payload: s.out}
	}
	s.out = append(s.appendThreadID(append(s.out, "thread:"...), in.pid, id), ';')
	return reply{payload: s.appendStop(s.out, id)}
}
