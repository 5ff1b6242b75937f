package gdbstub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"physgdb/gdbstub/internal/accept"
	"physgdb/gdbstub/internal/worker"
	"physgdb/gdbstub/rsp"
)

// Opener makes the Target of one connection.
type Opener func(ctx context.Context) (Target, error)

// Server serves one machine to any number of clients.
type Server struct {
	open Opener
	opt  Options
}

// NewServer returns a Server that calls open for each connection, so that what a client changes
// (`set $cr3`) is its own affair. open runs concurrently with itself when several clients come at
// once.
func NewServer(open Opener, o *Options) *Server {
	return &Server{open: open, opt: o.withDefaults()}
}

// Serve speaks with one client until it detaches, kills or goes away, which is no error, or until
// ctx is done. It closes conn and the connection's Target. The first words are the client's.
//
// If no Target can be opened the client gets the reason, and Serve returns that error.
func (s *Server) Serve(ctx context.Context, conn net.Conn) error {
	return s.serve(ctx, accept.NewConn(conn))
}

// ServeListener serves each client that ln accepts, several at once, until ctx is done; then it
// closes ln, ends all sessions, waits for them and returns nil. It returns an error only if ln
// fails.
func (s *Server) ServeListener(ctx context.Context, ln net.Listener) error {
	l := accept.Listener{
		Logger:     s.opt.Logger,
		MaxClients: s.opt.MaxClients,
		Patience:   s.opt.Deadline / 4,
		Serve:      s.serve,
		Refuse:     func(c *accept.Conn, why string) { refuse(c, s.opt.Deadline, why) },
	}
	return l.Run(ctx, ln)
}

// serve is Serve. Calls that the Target was left with go on in conn.Running.
func (s *Server) serve(ctx context.Context, conn *accept.Conn) error {
	ended := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	unblock := context.AfterFunc(ctx, func() { conn.Close() }) // ends a Read or Write that is under way
	defer unblock()
	defer conn.Close()

	log := s.opt.Logger.With("client", conn.String())
	workers := &worker.Group{Log: log, Deadline: s.opt.Deadline, Running: &conn.Running}
	w, can, err := s.openTarget(ctx, workers)
	if err != nil {
		refuse(conn, s.opt.Deadline, err.Error())
		return err
	}
	session := newSession(s.opt, conn, workers, w, can, log)
	err = session.run(ctx)
	cancel() // of a call that is still running
	w.Release()
	closed := s.closed(ended, w)
	session.closeFiles()
	return errors.Join(withoutFarewell(ctx, err), closed)
}

// openTarget opens the Target of a connection within the deadline of a request.
func (s *Server) openTarget(ctx context.Context, workers *worker.Group) (*targetWorker, abilities, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Deadline)
	defer cancel()
	return startTarget(ctx, workers, s.open)
}

// targetWorker makes the calls to one Target.
type targetWorker = worker.Worker[Target]

// startTarget opens a Target and finds out what it can do. ctx carries the deadline of the request
// that wants it.
func startTarget(ctx context.Context, workers *worker.Group, open Opener) (*targetWorker, abilities, error) {
	w, err := worker.Start(ctx, workers, open)
	if err != nil {
		return nil, abilities{}, err
	}
	can, err := worker.Ask(ctx, w, func(_ context.Context, t Target) (abilities, error) { return abilitiesOf(t), nil })
	if err != nil {
		w.Release()
		return nil, abilities{}, fmt.Errorf("open target: %w", err)
	}
	return w, can, nil
}

// closed waits for a Target to be closed, though not for a call that goes on after its deadline;
// and hardly if the whole server is to end.
func (s *Server) closed(ended context.Context, w *targetWorker) error {
	patience := s.opt.Deadline
	if ended.Err() != nil {
		patience /= 4
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	unblock := context.AfterFunc(ended, func() { time.AfterFunc(s.opt.Deadline/4, cancel) })
	defer unblock()
	return w.Closed(ctx)
}

// withoutFarewell drops the errors that end a connection normally.
func withoutFarewell(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) && ctx.Err() != nil {
		return nil
	}
	return err
}

// maxLogged is how much of a packet goes to the log, in bytes.
const maxLogged = 256

// logPacket writes one line at debug level, and costs nothing at other levels.
func logPacket(log hclog.Logger, direction string, payload []byte) {
	if !log.IsDebug() {
		return
	}
	start := hclog.Quote(payload[:min(len(payload), maxLogged)]) // quoted, as it may hold line ends
	log.Debug(direction, "packet", start, "bytes", len(payload))
}

// packetSize is the largest payload in bytes that a client may send, and bounds what it asks for at
// once.
const packetSize = rsp.DefaultLimit
