package gdbstub

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"physgdb/gdbstub/internal/worker"
	"physgdb/gdbstub/rsp"
	"physgdb/internal/plain"
)

// running is what a session knows of a machine that the client has let run.
type running struct {
	on      bool                            // the client waits for a stop
	in      *inferior                       // whose Runner it is; nil for a Refresher
	resumed <-chan worker.Outcome[struct{}] // receives the result of Resume
	stops   <-chan Stop
}

// vCont answers vCont? and vCont;action[:thread];… (gdb manual, appendix E.2). Both c and C must be
// offered, or gdb falls back to older packets.
func (s *session) vCont(ctx context.Context, args []byte) reply {
	if string(args) == "?" {
		return text("vCont;c;C;s;S")
	}
	in, id := s.resumedThread(ctx, args)
	var actions []Action
	for part := range bytes.SplitSeq(bytes.TrimPrefix(args, []byte(";")), []byte(";")) {
		verb, thread, named := bytes.Cut(part, []byte(":"))
		ref, valid := parseThreadID(thread)
		if named && (!valid || s.attached(ref.pid) != in) {
			continue // of a process that is not resumed
		}
		actions = append(actions, parseAction(verb, ref.id))
	}
	return s.resume(ctx, in, id, actions)
}

// resumeLast answers c, C, s and S, which are about the thread that stopped last.
func (s *session) resumeLast(ctx context.Context, r request) reply {
	in, id := s.lastStopped()
	a := parseAction(append([]byte(r.name), r.args...), anyThread)
	if a.Step {
		a.Thread = id
	}
	return s.resume(ctx, in, id, []Action{a})
}

// parseAction reads c, s, C and S, the latter two with a signal in hex. What is none of them is a
// step.
func parseAction(verb []byte, id ThreadID) Action {
	a := Action{Thread: id, Step: len(verb) == 0 || verb[0] != 'c' && verb[0] != 'C'}
	if len(verb) > 1 && (verb[0] == 'C' || verb[0] == 'S') {
		signal, _ := rsp.ParseHex(verb[1:])
		a.Signal = int(signal & 0xff)
	}
	return a
}

// resumedThread returns the thread that a vCont names, which is the one the user steps, or else the
// one that stopped last.
func (s *session) resumedThread(ctx context.Context, actions []byte) (*inferior, ThreadID) {
	for action := range bytes.SplitSeq(actions, []byte(";")) {
		_, arg, _ := bytes.Cut(action, []byte(":"))
		if in, id, found := s.findOne(ctx, arg); found {
			return in, id
		}
	}
	return s.lastStopped()
}

// lastStopped returns the thread of the last stop reply. The thread that Hg selected would be
// wrong: a client that has listed all threads leaves the last of them selected, and would switch to
// it when it resumes another.
func (s *session) lastStopped() (*inferior, ThreadID) {
	if in := s.attached(s.stopped.pid); in != nil {
		if _, alive := in.threads.index[s.stopped.id]; alive {
			return in, s.stopped.id
		}
	}
	return s.selected, s.selected.current
}

// resume lets a machine run if it can. With a Refresher, which runs anyway, the client waits until
// the user presses Ctrl-C. Everything else is refused: a step of such a machine, and whatever would
// make a dead machine run.
func (s *session) resume(ctx context.Context, in *inferior, id ThreadID, actions []Action) reply {
	step := slices.ContainsFunc(actions, func(a Action) bool { return a.Step })
	switch {
	case s.running.in != nil:
		return s.fail(codeRefused, "the machine is running")
	case in.can.runner != nil && len(actions) > 0:
		return s.start(ctx, in, actions)
	case s.machine.can.refresher != nil && !step:
		s.running = running{on: true}
		return silence()
	}
	return s.refuseResume(in, id)
}

// start calls Resume of a Runner. The client gets no reply before the machine stops, so the session
// does not wait for the result here.
func (s *session) start(ctx context.Context, in *inferior, actions []Action) reply {
	select {
	case <-in.can.stops: // of a run that the client did not wait for
	default:
	}
	callCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opt.Deadline)
	result, err := worker.Submit(ctx, in.worker, callCtx, func(ctx context.Context, _ Target) (struct{}, error) {
		defer cancel()
		return struct{}{}, in.can.runner.Resume(ctx, actions)
	})
	s.running = running{on: true, in: in, resumed: result, stops: in.can.stops}
	if err != nil {
		cancel()
		return s.whenResumed(err)
	}
	return silence()
}

// whenResumed handles the result of Resume. A machine that was not resumed is reported as stopped.
func (s *session) whenResumed(err error) reply {
	s.running.resumed = nil
	if err == nil {
		return silence()
	}
	s.running = running{}
	in, id := s.lastStopped()
	return s.stopWithText(err.Error(), signalInterrupt, in, id)
}

// whenStopped reports a stop of the machine to the client. Without more the machine is gone.
func (s *session) whenStopped(ctx context.Context, stop Stop, more bool) (reply, error) {
	in := s.running.in
	s.running = running{}
	if !more {
		return reply{payload: []byte("X09"), end: true}, nil
	}
	if !s.conn.Begin() {
		return reply{}, net.ErrClosed
	}
	defer s.conn.End()
	ctx, cancel := context.WithTimeout(ctx, s.opt.Deadline)
	defer cancel()
	s.refused = 0
	for _, each := range s.inferiors {
		if err := s.refreshThreads(ctx, each); err != nil {
			stop.Text += err.Error() + "\n"
		}
	}
	id := stop.Thread
	if _, listed := in.threads.index[id]; !listed {
		id = in.current
	}
	return s.stopWithText(stop.Text, signal(stop.Signal), in, id), nil
}

// stopWithText is a stop reply after a text on the console.
func (s *session) stopWithText(words string, why signal, in *inferior, id ThreadID) reply {
	if words = strings.TrimSuffix(words, "\n"); words != "" && s.print([]byte(plain.Text(words)+"\n")) != nil {
		return reply{silent: true, end: true}
	}
	return s.stopReply(why, in, id)
}

// signal is a reason to stop (gdb manual, appendix E.3). These have the same number for every
// client, while gdb and lldb do not agree on others: gdb has numbers of its own
// (include/gdb/signals.def).
type signal int

const (
	signalInterrupt signal = 2
	signalTrap      signal = 5
	signalAbort     signal = 6
)

// maxRefused is how often a client may ask to run without a look at the threads in between.
// Debuggers list them as soon as they stop for their user, and resume at once if SIGINT is
// configured not to stop (gdb's `handle SIGINT nostop`).
const maxRefused = 16

// refuseResume answers a request to run that cannot be: a sentence on the console and a stop by
// SIGINT, at once. Any other reply makes some client step for ever, hang, or give up the
// connection. A client that resumes nevertheless would do so for ever, without handling Ctrl-C.
// After maxRefused times it gets a signal that clients do not ignore.
func (s *session) refuseResume(in *inferior, id ThreadID) reply {
	words := in.can.whyHalted
	if s.client.lldb && s.machine.can.refresher != nil {
		words += "\nAt continue lldb resumes this step, unless you enter: thread plan discard 1"
	}
	s.refused++
	if s.refused > maxRefused {
		s.refused = 0
		return s.stopWithText(words, signalAbort, in, id)
	}
	return s.stopWithText(words, signalInterrupt, in, id)
}

// interrupt answers Ctrl-C while the client waits for a stop: it stops a Runner and refreshes a
// Refresher. At any other time the client expects no reply.
func (s *session) interrupt(ctx context.Context) reply {
	switch {
	case !s.running.on:
		return silence()
	case s.running.in != nil:
		return s.interruptRunner(ctx, s.running.in)
	}
	s.running = running{}
	var failed []string
	for _, in := range s.inferiors {
		if err := s.refresh(ctx, in); err != nil {
			failed = append(failed, err.Error())
		}
	}
	in, id := s.lastStopped()
	return s.stopWithText(strings.Join(failed, "\n"), signalInterrupt, in, id)
}

// interruptRunner asks a machine to stop. The stop is reported when it happens.
func (s *session) interruptRunner(ctx context.Context, in *inferior) reply {
	_, err := worker.Ask(ctx, in.worker, func(ctx context.Context, _ Target) (struct{}, error) {
		return struct{}{}, in.can.runner.Interrupt(ctx)
	})
	if err != nil && s.print([]byte(plain.Text(err.Error())+"\n")) != nil {
		return reply{silent: true, end: true}
	}
	return silence()
}

// refresh drops what is known of an inferior.
func (s *session) refresh(ctx context.Context, in *inferior) error {
	if refresher := in.can.refresher; refresher != nil {
		_, err := worker.Ask(ctx, in.worker, func(ctx context.Context, _ Target) (struct{}, error) {
			return struct{}{}, refresher.Refresh(ctx)
		})
		if err != nil {
			return err
		}
	}
	return s.refreshThreads(ctx, in)
}

// stopReply reports that a thread has stopped, and selects it: gdb asks for its registers without
// another Hg. Without a list of threads the reply names none, which is legal.
func (s *session) stopReply(why signal, in *inferior, id ThreadID) reply {
	s.selected, in.current, s.stopped = in, id, threadRef{in.pid, id}
	s.out = fmt.Appendf(s.out[:0], "T%02x", int(why))
	if id == 0 {
		return reply{payload: s.out}
	}
	s.out = append(s.appendThreadID(append(s.out, "thread:"...), in.pid, id), ';')
	return reply{payload: s.appendStop(s.out, id)}
}
