package accept

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Limits are how long a client may take.
type Limits struct {
	Hello  time.Duration // until its first request is there
	Packet time.Duration // to end a packet that it has begun
	Idle   time.Duration // from one request to the next
	Write  time.Duration // to take a reply
}

// progress is how far a client has come.
type progress struct {
	packets uint64 // that have arrived whole
	begun   bool   // one more has begun
}

// Limit starts to limit how long the client may take: one that sends nothing, stops in the middle
// of a packet or does not read its replies is disconnected. A connection that has no deadlines is
// used without.
//
// progress returns how many packets have arrived whole in the bytes read so far, and whether one
// more has begun. It is called by the goroutine that reads.
func (c *Conn) Limit(l Limits, progress func() (packets uint64, begun bool)) {
	c.limits, c.progress = l, progress
}

// Read reads from the client. The error of a timeout states what the client failed to send.
func (c *Conn) Read(p []byte) (int, error) {
	c.limitRead()
	n, err := c.readChecked(p)
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
func (c *Conn) limitRead() {
	if c.progress == nil {
		return
	}
	var now progress
	if now.packets, now.begun = c.progress(); now.packets == 0 {
		now.begun = false // the first words have one limit, the packet in them included
	}
	if c.limit != 0 && now == c.armed {
		return
	}
	c.armed, c.limit = now, now.patience(c.limits)
	_ = c.SetReadDeadline(time.Now().Add(c.limit))
}

// patience is how long the client may take for its next step.
func (p progress) patience(l Limits) time.Duration {
	switch {
	case p.packets == 0:
		return l.Hello
	case p.begun:
		return l.Packet
	}
	return l.Idle
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

// Write writes p within the limit.
func (c *Conn) Write(p []byte) (int, error) {
	if c.limits.Write > 0 {
		_ = c.SetWriteDeadline(time.Now().Add(c.limits.Write)) // see limitRead
	}
	n, err := c.Conn.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("the client did not read its reply for %v: %w", c.limits.Write, os.ErrDeadlineExceeded)
	}
	return n, err
}
