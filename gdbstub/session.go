package gdbstub

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/hashicorp/go-hclog"

	"physgdb/gdbstub/rsp"
)

// session is the conversation with one client. The goroutine in run owns it.
type session struct {
	opt   Options
	conn  net.Conn
	place *seat
	wire  *rsp.Conn
	log   packetLog

	client   client
	extended bool // target extended-remote: the connection outlives the processes
	running  bool // the client has let the machine run, and waits for it to stop

	machine   *inferior
	inferiors []*inferior // that the client debugs, in the order in which it attached to them
	*inferior             // the one that was last selected; the machine if there is none
	leaving   []*inferior // that the client is done with, but whose last call has not returned

	stopped  threadRef   // of the last stop reply
	refused  int         // requests to run since the client last listed the threads
	unlisted []threadRef // what qsThreadInfo has yet to tell
	files    files

	noAck   bool         // acknowledgements have ended
	pending <-chan event // what listen waits for; nil if it waits for nothing
	held    *event       // came while another request was answered; nil if there is none

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

func newSession(opt Options, conn net.Conn, place *seat, w *worker, can abilities, log hclog.Logger) *session {
	s := &session{
		opt:   opt,
		conn:  conn,
		place: place,
		log:   packetLog{log},
		files: files{},
	}
	s.wire = rsp.NewConn(&deadlineConn{Conn: conn, opt: opt, heard: s.heard}, packetSize)
	s.machine = s.newInferior(machinePID, w, can)
	s.inferior, s.inferiors = s.machine, []*inferior{s.machine}
	return s
}

// heard is how far the client has come, for deadlineConn.
func (s *session) heard() progress {
	packets, begun := s.wire.Progress()
	return progress{packets, begun}
}

// run answers requests until the client ends the session or the connection fails.
func (s *session) run(ctx context.Context) error {
	defer s.end(ctx)
	for {
		kind, packet, err := s.next()
		if err != nil {
			if ctx.Err() != nil {
				err = net.ErrClosed // by Serve, which knows this farewell, whatever this connection calls it
			}
			return fmt.Errorf("read request: %w", err)
		}
		startNoAck := kind == rsp.Packet && isStartNoAck(packet)
		if !s.place.work() {
			return net.ErrClosed
		}
		answer := s.answer(ctx, kind, packet)
		s.place.rest()
		if ctx.Err() != nil {
			return net.ErrClosed
		}
		if err := s.send(answer); err != nil {
			return err
		}
		if answer.end {
			return nil
		}
		if startNoAck {
			s.noAck = true
			s.wire.StartNoAck()
		}
	}
}

// event is what the client sent, or the end of the connection.
type event struct {
	kind    rsp.Kind
	payload []byte
	err     error
}

// next returns the next Packet or Interrupt.
func (s *session) next() (rsp.Kind, []byte, error) {
	for {
		e := s.nextEvent()
		if e.err != nil {
			return 0, nil, e.err
		}
		if done, err := s.wire.Settle(e.kind); done || err != nil {
			return e.kind, e.payload, err
		}
	}
}

func (s *session) nextEvent() event {
	switch {
	case s.held != nil:
		e := *s.held
		s.held = nil
		return e
	case s.pending != nil:
		e := <-s.pending
		s.pending = nil
		return e
	}
	kind, payload, err := s.wire.Next()
	return event{kind, payload, err}
}

// listen returns where the next event will come, for whoever has something else to wait for as well; he sets pending to
// nil when he has taken it. The goroutine that reads it ends then, or when the connection is closed.
func (s *session) listen() <-chan event {
	if s.pending == nil {
		next := make(chan event, 1)
		go func() {
			kind, payload, err := s.wire.Next()
			next <- event{kind, payload, err}
		}()
		s.pending = next
	}
	return s.pending
}

// answer answers one request. All calls that it takes share one deadline, since the client waits for it only once; a
// monitor command has its own.
func (s *session) answer(ctx context.Context, kind rsp.Kind, packet []byte) reply {
	if name, _ := splitName(packet); name != "qRcmd" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.opt.Deadline)
		defer cancel()
	}
	if kind == rsp.Interrupt {
		return s.interrupt(ctx)
	}
	s.log.packet("request", packet)
	return s.dispatch(ctx, packet)
}

// send sends one reply, if there is one to be sent.
func (s *session) send(r reply) error {
	if r.silent {
		return nil
	}
	s.log.packet("reply", r.payload)
	if err := s.wire.Write(r.payload); err != nil {
		return fmt.Errorf("send reply: %w", err)
	}
	return nil
}

// maxConsole is how many bytes of text go into one O packet.
const maxConsole = 8192

// print shows text on the client's console. That is possible only while the client waits for a resume to stop or
// for a monitor command; at any other time it would be taken for the reply.
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

// isNoAnswer says whether a call was left running.
func isNoAnswer(err error) bool {
	var late noAnswer
	return errors.As(err, &late)
}
