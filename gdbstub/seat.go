package gdbstub

import (
	"sync"
	"sync/atomic"
	"time"
)

// seat is the place of a client. Its session says when it answers a request; the listener may close
// it at any other time.
type seat struct {
	close func()

	// idle is since when no request is being answered, in ns by the clock of seats; see also the
	// states.
	idle atomic.Int64
}

// States of a seat that is not idle.
const (
	seatBusy   = 0  // a request is being answered
	seatClosed = -1 // for another client
)

// clockStart is when the clock of seats started. It is monotonic.
var clockStart = time.Now()

func newSeat(close func()) *seat {
	s := &seat{close: close}
	s.rest()
	return s
}

// work marks the start of a request. It returns false if the seat has just been closed.
func (s *seat) work() bool { return s.idle.Swap(seatBusy) != seatClosed }

// rest marks the end of a request. What the client does not take of its answer is not waited for.
func (s *seat) rest() { s.idle.Store(max(1, int64(time.Since(clockStart)))) }

// seats are those of the clients that are served.
type seats struct {
	mu  sync.Mutex // protects all
	all map[*seat]struct{}
}

func (s *seats) add(one *seat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*seat]struct{}{}
	}
	s.all[one] = struct{}{}
}

func (s *seats) remove(one *seat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, one)
}

// closeIdlest closes the seat that has been idle longest, and returns for how long. It returns
// false if all are busy.
func (s *seats) closeIdlest() (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var idlest *seat
		since := int64(time.Since(clockStart))
		for one := range s.all {
			if idle := one.idle.Load(); idle > seatBusy && idle <= since {
				idlest, since = one, idle
			}
		}
		switch {
		case idlest == nil:
			return 0, false
		case idlest.idle.CompareAndSwap(since, seatClosed):
			delete(s.all, idlest)
			idlest.close()
			return time.Since(clockStart) - time.Duration(since), true
		}
	}
}
