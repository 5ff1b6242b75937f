package gdbstub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"physgdb/gdbstub/rsp"
)

// session is the conversation with one client. The goroutine in run owns it.
type session struct {
	opt  Options
	conn net.Conn
	wire *rsp.Conn
	log  packetLog

	client   client
	extended bool // target extended-remote: the connection outlives the processes
	running  bool // the client has let the machine run, and waits for it to stop

	machine   *inferior
	inferiors []*inferior // that the client debugs, in the order in which it attached to them
	*inferior             // the one that was last selected; the machine if there is none

	unlisted []threadRef // what qsThreadInfo has yet to tell
	files    files

	memory []byte // read from the Target; given up to a call that is late
	out    []byte // payload of a reply with data, reused
}

// client is what is known of the peer.
type client struct {
	asked        bool // has sent qSupported
	lldb         bool // is lldb, else gdb
	multiprocess bool // names threads as p<process>.<thread>
	errorText    bool // understands E.text in reply to everything
}

func newSession(opt Options, conn net.Conn, w *worker, can abilities, log hclog.Logger) *session {
	s := &session{
		opt:  opt,
		conn: conn,
		wire: rsp.NewConn(deadlineConn{conn, opt.WriteTimeout}, packetSize),
		log:  packetLog{log},

		files: files{},
	}
	s.machine = s.newInferior(machinePID, w, can)
	s.inferior, s.inferiors = s.machine, []*inferior{s.machine}
	return s
}

// run answers requests until the client ends the session or the connection fails.
func (s *session) run(ctx context.Context) error {
	defer s.close()
	for {
		kind, packet, err := s.wire.Read()
		if err != nil {
			if ctx.Err() != nil {
				err = ctx.Err() // the connection was closed because of it
			}
			return fmt.Errorf("read request: %w", err)
		}
		var answer reply
		if kind == rsp.Interrupt {
			answer = s.interrupt(ctx)
		} else {
			s.log.packet("request", packet)
			answer = s.dispatch(ctx, packet)
		}
		if ctx.Err() != nil {
			return net.ErrClosed
		}
		if err := s.send(answer); err != nil {
			return err
		}
		if answer.end {
			return nil
		}
		if kind == rsp.Packet && isStartNoAck(packet) {
			s.wire.StartNoAck()
		}
	}
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
		s.out = rsp.AppendHex(append(s.out[:0], 'O'), text[:n])
		if err := s.send(reply{payload: s.out}); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

// deadlineConn limits how long each write may take, so that a client which stops reading is let go.
type deadlineConn struct {
	net.Conn
	timeout time.Duration
}

// Write writes p within the timeout.
func (c deadlineConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// isNoAnswer says whether a call was left running.
func isNoAnswer(err error) bool {
	var late noAnswer
	return errors.As(err, &late)
}
