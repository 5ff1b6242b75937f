// Package accept decides which connections are served and for how long, whatever is said on them:
// how many there are, which one is closed for another, what their first bytes may be, and how long
// a client may leave the server waiting.
package accept

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is the connection of one client. Reading fails if its first bytes are those of another
// protocol. One goroutine at a time reads, and one writes.
type Conn struct {
	net.Conn

	// Running counts what is done for the client. Its place is free when that has ended, which may
	// be after the connection is closed.
	Running sync.WaitGroup

	leave func()       // ends the service of a connection that a Listener has accepted
	idle  atomic.Int64 // see idle.go

	checked bool // the first bytes were read; see foreign.go

	limits   Limits
	progress func() (packets uint64, begun bool) // nil without limits; see Limit
	armed    progress                            // for which the read deadline was last set
	limit    time.Duration                       // that was set then; 0 before the first
}

// NewConn returns the Conn of a client that is idle, without Limits.
func NewConn(conn net.Conn) *Conn {
	c := &Conn{Conn: conn}
	c.End()
	return c
}

// String names the client in the log. A connection made of pipes may have no address.
func (c *Conn) String() string {
	if addr := c.RemoteAddr(); addr != nil {
		return addr.String()
	}
	return "unnamed"
}
