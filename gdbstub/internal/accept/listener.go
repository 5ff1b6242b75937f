package accept

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Listener serves the clients that come to a listening socket, a limited number at once. As many
// others may wait or be refused.
type Listener struct {
	Logger     hclog.Logger
	MaxClients int           // that are served at once
	Patience   time.Duration // how long a further client waits at most for one of the others to be gone

	// Serve serves one client until its session has ended, or ctx is done.
	Serve func(ctx context.Context, c *Conn) error
	// Refuse gives a client the reason why it is not served, and closes its connection.
	Refuse func(c *Conn, why string)

	inside, waiting slots
	served          served
}

// Run serves each client that ln accepts, several at once, until ctx is done; then it closes ln,
// ends all sessions, waits for them and returns nil. It returns an error only if ln fails. It is
// called once.
func (l *Listener) Run(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer cancel()
	defer ln.Close()
	unblock := context.AfterFunc(ctx, func() { ln.Close() })
	defer unblock()

	l.inside, l.waiting = newSlots(l.MaxClients), newSlots(l.MaxClients)
	var flood floodLog
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case isTemporary(err):
			l.Logger.Warn("accept", "error", err)
			sleep(ctx, 100*time.Millisecond)
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		case !l.waiting.take(0):
			conn.Close() // a flood: not even a refusal
			flood.note(l.Logger, NewConn(conn))
		default:
			tuneTCP(conn)
			sessions.Go(func() { l.enter(ctx, NewConn(conn)) })
		}
	}
}

// enter serves a client. If all places are taken it closes the client that has been idle longest,
// or refuses the new one if all are busy.
func (l *Listener) enter(ctx context.Context, c *Conn) {
	if !l.makeRoom(c) {
		defer l.waiting.release()
		l.refuse(ctx, c)
		return
	}
	l.waiting.release()
	ctx, c.leave = context.WithCancel(ctx)
	defer c.leave()
	l.served.add(c)
	defer l.served.remove(c)
	l.serve(ctx, c)
	go func() { // ends with the last call for the client
		c.Running.Wait()
		l.inside.release()
	}()
}

// makeRoom takes a place for a client. It first gives a session that is just ending time to finish,
// since a user may detach and connect again within that time.
func (l *Listener) makeRoom(c *Conn) bool {
	if l.inside.take(l.Patience / 4) {
		return true
	}
	if idle, closed := l.served.closeIdlest(); closed {
		l.Logger.Warn("closing the client with the longest idle time to accept another", "idle", idle.Round(time.Millisecond),
			"other", c.String(), "max", l.MaxClients)
	}
	return l.inside.take(l.Patience)
}

// serve serves one client and logs the start and the end of its session.
func (l *Listener) serve(ctx context.Context, c *Conn) {
	log := l.Logger.With("client", c.String())
	log.Info("client connected")
	if err := l.Serve(ctx, c); err != nil && ctx.Err() == nil {
		log.Warn("session failed", "error", err)
		return
	}
	log.Info("client disconnected")
}

// refuse refuses a client because there are too many.
func (l *Listener) refuse(ctx context.Context, c *Conn) {
	unblock := context.AfterFunc(ctx, func() { c.Close() })
	defer unblock()
	l.Logger.Warn("client refused: too many", "client", c.String(), "max", l.MaxClients)
	l.Refuse(c, fmt.Sprintf("%d clients are connected and busy, and more are not served", l.MaxClients))
}

// floodLog writes at most one line a second about clients that were disconnected at once.
type floodLog struct {
	last    time.Time
	dropped int // since the last line
}

func (f *floodLog) note(log hclog.Logger, c *Conn) {
	f.dropped++
	if time.Since(f.last) < time.Second {
		return
	}
	log.Warn("clients dropped without a reply: too many are waiting", "dropped", f.dropped, "last", c.String())
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
