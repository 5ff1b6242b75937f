package gdbstub

import (
	"context"
	"fmt"
	"net"

	"github.com/hashicorp/go-hclog"

	"physgdb/gdbstub/internal/accept"
	"physgdb/gdbstub/internal/worker"
	"physgdb/gdbstub/rsp"
)

// session is the state of one connection. The goroutine of run owns it.
type session struct {
	opt     Options
	conn    *accept.Conn
	wire    *rsp.Conn
	workers *worker.Group
	log     hclog.Logger

	client   client
	extended bool // target extended-remote: the connection outlives the processes

	machine   *inferior
	inferiors []*inferior // that the client debugs, in the order in which it attached to them
	selected  *inferior   // the one that was last selected; the machine if there is none
	leaving   []*inferior // that the client is done with, but whose last call has not returned

	running  running
	stopped  threadRef   // of the last stop reply
	refused  int         // requests to run since the client last listed the threads
	unlisted []threadRef // what qsThreadInfo has yet to list
	files    files

	input *input
	noAck bool // acknowledgements have ended

	memory []byte // read from the Target; given up to a call that is late
	out    []byte // payload of a reply with data, reused
}

// client is what is known of the peer.
type client struct {
	asked        bool // has sent qSupported
	lldb         bool // is lldb, else gdb
	multiprocess bool // names threads as p<process>.<thread>
	errorText    bool // understands E.text in reply to everything
	qemu         bool // has asked what only QEMU answers

	readRegisters bool // since it connected or attached

	// What lldb has switched on.
	threadSuffix  bool // names the thread in each register packet
	threadsInStop bool // wants the numbers of all threads at a stop
	errorStrings  bool // understands E01;text in reply to everything, with text in hex
}

func newSession(opt Options, conn *accept.Conn, workers *worker.Group, w *targetWorker, can abilities, log hclog.Logger) *session {
	s := &session{
		opt:     opt,
		conn:    conn,
		wire:    rsp.NewConn(conn, packetSize),
		workers: workers,
		log:     log,
		files:   files{},
	}
	conn.Limit(opt.limits(), s.wire.Progress)
	s.machine = s.newInferior(machinePID, w, can)
	s.selected, s.inferiors = s.machine, []*inferior{s.machine}
	return s
}

// run answers requests until the client ends the session or the connection fails.
func (s *session) run(ctx context.Context) error {
	s.input = startInput(s.wire)
	defer s.input.close()
	defer s.end(ctx)
	for {
		answer, err := s.next(ctx)
		switch {
		case ctx.Err() != nil:
			return net.ErrClosed // whatever this connection calls it
		case err != nil:
			return err
		}
		if err := s.send(answer); err != nil {
			return err
		}
		if answer.end {
			return nil
		}
		if answer.startNoAck {
			s.noAck = true
			s.wire.StartNoAck()
		}
	}
}

// next waits for the client, the worker or the machine, and returns the reply to what happened.
func (s *session) next(ctx context.Context) (reply, error) {
	select {
	case e := <-s.input.next():
		s.input.taken()
		return s.handle(ctx, e)
	case o := <-s.running.resumed:
		return s.whenResumed(o.Err), nil
	case stop, more := <-s.running.stops:
		return s.whenStopped(ctx, stop, more)
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
}

// handle handles what the client sent.
func (s *session) handle(ctx context.Context, e event) (reply, error) {
	done, err := false, e.err
	if err == nil {
		done, err = s.wire.Settle(e.kind)
	}
	switch {
	case err != nil:
		return reply{}, fmt.Errorf("read request: %w", err)
	case !done:
		return silence(), nil
	case !s.conn.Begin():
		return reply{}, net.ErrClosed
	}
	defer s.conn.End()
	if e.kind == rsp.Interrupt {
		ctx, cancel := context.WithTimeout(ctx, s.opt.Deadline)
		defer cancel()
		return s.interrupt(ctx), nil
	}
	logPacket(s.log, "request", e.payload)
	return s.answer(ctx, parseRequest(e.payload)), nil
}

// answer answers one request. All calls that it takes share one deadline, since the client waits
// only once; a monitor command has its own.
func (s *session) answer(ctx context.Context, r request) reply {
	if r.name != "qRcmd" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.opt.Deadline)
		defer cancel()
	}
	return s.dispatch(ctx, r)
}

// send sends one reply, if there is one to be sent.
func (s *session) send(r reply) error {
	if r.silent {
		return nil
	}
	logPacket(s.log, "reply", r.payload)
	if err := s.wire.Write(r.payload); err != nil {
		return fmt.Errorf("send reply: %w", err)
	}
	return nil
}

// maxConsole is how many bytes of text go into one O packet.
const maxConsole = 8192

// print shows text on the client's console. That is possible only while the client waits for a
// resume to stop or for a monitor command; at any other time it would be taken for the reply.
func (s *session) print(text []byte) error {
	for len(text) > 0 {
		n := min(len(text), maxConsole)
		if err := s.printOnce(text[:n]); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

// printOnce is print in one packet, for a client that is known to take one of any size: gdb.
func (s *session) printOnce(text []byte) error {
	s.out = rsp.AppendHex(append(s.out[:0], 'O'), text)
	return s.send(reply{payload: s.out})
}
