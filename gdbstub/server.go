package gdbstub

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"physgdb/gdbstub/rsp"
)

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
	return s.serve(ctx, conn, newSeat(nil), new(sync.WaitGroup))
}

// serve is Serve, and lets the caller wait for calls that the Target was left with.
func (s *Server) serve(ctx context.Context, conn net.Conn, place *seat, running *sync.WaitGroup) error {
	ended := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	unblock := context.AfterFunc(ctx, func() { conn.Close() }) // ends a Read or Write that is under way
	defer unblock()
	defer conn.Close()

	log := s.opt.Logger.With("client", peer(conn))
	w, can, err := s.openTarget(ctx, log, running)
	if err != nil {
		refuse(conn, s.opt.Deadline, err.Error())
		return err
	}
	session := newSession(s.opt, conn, place, w, can, log)
	err = session.run(ctx)
	cancel() // of a call that is still running
	w.release()
	closed := s.closed(ended, w)
	session.closeFiles()
	return errors.Join(withoutFarewell(ctx, err), closed)
}

// openTarget opens the Target of a connection within the deadline of a request.
func (s *Server) openTarget(ctx context.Context, log hclog.Logger, running *sync.WaitGroup) (*worker, abilities, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Deadline)
	defer cancel()
	return startWorker(ctx, log, s.open, s.opt.Deadline, running)
}

// closed waits for a Target to be closed, though not for a call that goes on after its deadline;
// and hardly if the whole server is to end.
func (s *Server) closed(ended context.Context, w *worker) error {
	patience := s.opt.Deadline
	if ended.Err() != nil {
		patience /= 4
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	unblock := context.AfterFunc(ended, func() { time.AfterFunc(s.opt.Deadline/4, cancel) })
	defer unblock()
	return w.closed(ctx)
}

// peer names the client in the log. A conn made of pipes may have no address.
func peer(conn net.Conn) string {
	if addr := conn.RemoteAddr(); addr != nil {
		return addr.String()
	}
	return "unnamed"
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
