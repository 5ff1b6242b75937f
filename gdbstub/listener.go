package gdbstub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// ServeListener serves each client that ln accepts, several at once, until ctx is done; then it
// closes ln, ends all sessions, waits for them and returns nil. It returns an error only if ln
// fails.
func (s *Server) ServeListener(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer cancel()
	defer ln.Close()
	unblock := context.AfterFunc(ctx, func() { ln.Close() })
	defer unblock()

	d := &door{server: s, inside: newSlots(s.opt.MaxClients), waiting: newSlots(s.opt.MaxClients)}
	var flood floodLog
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case isTemporary(err):
			s.opt.Logger.Warn("accept", "error", err)
			sleep(ctx, 100*time.Millisecond)
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		case !d.waiting.take(0):
			conn.Close() // a flood: not even a refusal
			flood.note(s.opt.Logger, conn)
		default:
			tuneTCP(conn)
			sessions.Go(func() { d.enter(ctx, conn) })
		}
	}
}

// door admits a limited number of clients; as many others may wait or be refused.
type door struct {
	server          *Server
	inside, waiting slots
	seats           seats // of those inside whose sessions go on
}

// enter serves a client. If all places are taken it closes the client that has been idle longest,
// or refuses the new one if all are busy.
func (d *door) enter(ctx context.Context, conn net.Conn) {
	if d.makeRoom(conn) {
		d.waiting.release()
		ctx, leave := context.WithCancel(ctx)
		defer leave()
		place := newSeat(leave)
		d.seats.add(place)
		defer d.seats.remove(place)
		running := new(sync.WaitGroup)
		d.server.serveAndLog(ctx, conn, place, running)
		go func() { // ends with the last call, like the worker that makes it
			running.Wait()
			d.inside.release()
		}()
		return
	}
	defer d.waiting.release()
	d.server.refuseSurplus(ctx, conn)
}

// makeRoom takes a place for a client. It first gives a session that is just ending time to finish,
// since a user may detach and connect again within that time.
func (d *door) makeRoom(conn net.Conn) bool {
	patience := d.server.opt.Deadline / 4
	if d.inside.take(patience / 4) {
		return true
	}
	if idle, closed := d.seats.closeIdlest(); closed {
		d.server.opt.Logger.Warn("the client that was idle longest is closed for another", "idle", idle.Round(time.Millisecond),
			"other", peer(conn), "max", d.server.opt.MaxClients)
	}
	return d.inside.take(patience)
}

// serveAndLog serves one client and logs the start and the end of its session.
func (s *Server) serveAndLog(ctx context.Context, conn net.Conn, place *seat, running *sync.WaitGroup) {
	log := s.opt.Logger.With("client", peer(conn))
	log.Info("client connected")
	if err := s.serve(ctx, conn, place, running); err != nil && ctx.Err() == nil {
		log.Warn("session failed", "error", err)
		return
	}
	log.Info("client gone")
}

// refuseSurplus refuses a client because there are too many.
func (s *Server) refuseSurplus(ctx context.Context, conn net.Conn) {
	unblock := context.AfterFunc(ctx, func() { conn.Close() })
	defer unblock()
	s.opt.Logger.Warn("client refused: too many", "client", peer(conn), "max", s.opt.MaxClients)
	refuse(conn, s.opt.Deadline, fmt.Sprintf("%d clients are connected and busy, and more are not served", s.opt.MaxClients))
}

// floodLog writes at most one line a second about clients that were disconnected at once.
type floodLog struct {
	last    time.Time
	dropped int // since the last line
}

func (f *floodLog) note(log hclog.Logger, conn net.Conn) {
	f.dropped++
	if time.Since(f.last) < time.Second {
		return
	}
	log.Warn("clients dropped unheard: too many wait to be served", "dropped", f.dropped, "last", peer(conn))
	f.last, f.dropped = time.Now(), 0
}

// slots limits a number of clients.
type slots chan struct{}

func newSlots(n int) slots { return make(slots, n) }

// take takes a slot, and waits for one for a while.
func (s slots) take(patience time.Duration) bool {
	select {
	case s <- struct{}{}:
		return true
	default:
	}
	if patience <= 0 {
		return false
	}
	select {
	case s <- struct{}{}:
		return true
	case <-time.After(patience):
		return false
	}
}

func (s slots) release() { <-s }

// tuneTCP makes small replies leave at once and a client that vanished be noticed within about a
// minute.
func tuneTCP(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	_ = tcp.SetNoDelay(true) // a failure here leaves a slower connection, not a wrong one
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3,
	})
}

// isTemporary says whether accepting may work again, as when the process is out of file descriptors
// for a moment.
func isTemporary(err error) bool {
	var temporary interface{ Temporary() bool }
	return err != nil && errors.As(err, &temporary) && temporary.Temporary()
}

// sleep waits for d or until ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
