package accept

import (
	"sync"
	"time"
)

// The field idle of a Conn is since when no request is being answered, in ns by the clock of
// clockStart, or one of these states.
const (
	busy   = 0  // a request is being answered
	closed = -1 // for another client
)

// clockStart is when the clock of idle connections started. It is monotonic.
var clockStart = time.Now()

// Begin marks the start of a request. It returns false if the connection has just been closed.
func (c *Conn) Begin() bool { return c.idle.Swap(busy) != closed }

// End marks the end of a request. What the client does not take of its answer is not waited for.
func (c *Conn) End() { c.idle.Store(max(1, int64(time.Since(clockStart)))) }

// served are the connections of the clients that are served.
type served struct {
	mu  sync.Mutex // protects all
	all map[*Conn]struct{}
}

func (s *served) add(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*Conn]struct{}{}
	}
	s.all[c] = struct{}{}
}

func (s *served) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, c)
}

// closeIdlest closes the connection that has been idle longest, and returns for how long. It
// returns false if all are busy.
func (s *served) closeIdlest() (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var idlest *Conn
		since := int64(time.Since(clockStart))
		for c := range s.all {
			if idle := c.idle.Load(); idle > busy && idle <= since {
				idlest, since = c, idle
			}
		}
		switch {
		case idlest == nil:
			return 0, false
		case idlest.idle.CompareAndSwap(since, closed):
			delete(s.all, idlest)
			idlest.leave()
			return time.Since(clockStart) - time.Duration(since), true
		}
	}
}
