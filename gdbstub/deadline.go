package gdbstub

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// deadlineConn limits how long the other side may take. Clients that send nothing, stop in the
// middle of a packet or do not read their replies are disconnected. A connection that has no
// deadlines is used without.
//
// One goroutine at a time reads, and one writes.
type deadlineConn struct {
	net.Conn
	opt      Options
	progress func() progress // what the reading side has made of the bytes so far

	armed progress      // for which the read deadline was last set
	limit time.Duration // that was set then; 0 before the first
	known bool          // the first bytes were checked
}

// progress is how far a client has come.
type progress struct {
	packets uint64 // that have arrived whole
	begun   bool   // one more has begun
}

// Read reads from the client. The error of a timeout states what the client failed to send.
func (c *deadlineConn) Read(p []byte) (int, error) {
	c.limitRead()
	first := newcomer{c.Conn, c.known}
	n, err := first.Read(p)
	c.known = first.known
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%s for %v: %w", c.armed.missing(), c.limit, os.ErrDeadlineExceeded)
	}
	return n, err
}

// limitRead sets the deadline when the client has made progress. Bytes outside of packets are no
// progress: they do not keep a connection open.
//
// A failure does not matter: a connection that is no network connection knows no deadlines, and
// what is wrong with one that does will be seen when it is used.
func (c *deadlineConn) limitRead() {
	now := c.progress()
	if now.packets == 0 {
		now.begun = false // the first words have one limit, the packet in them included
	}
	if c.limit != 0 && now == c.armed {
		return
	}
	c.armed, c.limit = now, now.patience(c.opt)
	_ = c.SetReadDeadline(time.Now().Add(c.limit))
}

// patience is how long the client may take for its next step.
func (p progress) patience(o Options) time.Duration {
	switch {
	case p.packets == 0:
		return o.HelloTimeout
	case p.begun:
		return o.PacketTimeout
	}
	return o.IdleTimeout
}

// missing returns what the client did not do.
func (p progress) missing() string {
	switch {
	case p.packets == 0:
		return "no first request came"
	case p.begun:
		return "a packet that was begun did not end"
	}
	return "no request came"
}

// Write writes p within the timeout.
func (c *deadlineConn) Write(p []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(c.opt.WriteTimeout)) // see limitRead
	n, err := c.Conn.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("the client did not take its reply for %v: %w", c.opt.WriteTimeout, os.ErrDeadlineExceeded)
	}
	return n, err
}
