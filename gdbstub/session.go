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
	opt       Options
	conn      net.Conn
	wire      *rsp.Conn
	worker    *worker
	can       abilities
	log       packetLog
	registers []Register        // by number
	objects   map[string]object // of qXfer, by name

	client  client
	process process
	threads threadList
	current ThreadID // chosen by Hg; 0 before the first list: the first thread
	symbols lending
	xfer    document // that is being read chunk by chunk

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

// process says whether the one process there is, the machine, is under the debugger.
type process struct {
	extended bool // target extended-remote: the connection outlives the process
	detached bool // extended, and not attached yet or any more
}

func newSession(opt Options, conn net.Conn, w *worker, can abilities, log hclog.Logger) *session {
	s := &session{
		opt:       opt,
		conn:      conn,
		wire:      rsp.NewConn(deadlineConn{conn, opt.WriteTimeout}, packetSize),
		worker:    w,
		can:       can,
		log:       packetLog{log},
		registers: opt.Description.Registers(),
	}
	s.objects = s.qXferObjects()
	return s
}

// run answers requests until the client ends the session or the connection fails.
func (s *session) run(ctx context.Context) error {
	for {
		kind, packet, err := s.wire.Read()
		if err != nil {
			if ctx.Err() != nil {
				err = ctx.Err() // the connection was closed because of it
			}
			return fmt.Errorf("read request: %w", err)
		}
		if kind == rsp.Interrupt {
			continue // nothing runs, so there is nothing to stop; a reply would be one too many
		}
		s.log.packet("request", packet)
		answer := s.dispatch(ctx, packet)
		if ctx.Err() != nil {
			return net.ErrClosed
		}
		if err := s.send(answer); err != nil {
			return err
		}
		if answer.end {
			return nil
		}
		if isStartNoAck(packet) {
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
