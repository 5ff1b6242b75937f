package nettlp

import (
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Link says how bad the way from an adapter to its clients is. The zero value is perfect.
type Link struct {
	Delay   time.Duration // from the arrival of a request to its completions; any number may be under way
	Loss    float64       // probability that a request, or a completion, is lost
	Dup     float64       // probability that a completion arrives twice
	Reorder float64       // probability that a completion, or its double, is overtaken by later ones
	Seed    uint64        // of the random numbers, so that a run can be repeated
}

// reorderHold is for how long at most a completion is held back so that others overtake it.
const reorderHold = 200 * time.Microsecond

// link sends an adapter's datagrams, well or badly.
type link struct {
	Link
	ports   *ports
	dropped func()
	perfect bool
	rand    *rand.Rand
	queue   []held   // sorted by due
	spare   [][]byte // buffers of datagrams that were sent
}

// held is a datagram on its way.
type held struct {
	due      time.Duration // on the adapter's clock
	port     uint8
	to       unix.RawSockaddrInet4
	datagram []byte
}

func newLink(l Link, p *ports, dropped func()) *link {
	seed := l.Seed
	l.Seed = 0
	return &link{Link: l, ports: p, dropped: dropped, perfect: l == Link{}, rand: rand.New(rand.NewPCG(seed, seed))}
}

func (l *link) chance(p float64) bool { return p > 0 && l.rand.Float64() < p }

// loses reports whether the datagram that just came in, or is to go out, gets lost.
func (l *link) loses() bool {
	lost := l.chance(l.Loss)
	if lost {
		l.dropped()
	}
	return lost
}

// transmit sends a datagram that answers what arrived at the given time.
func (l *link) transmit(port uint8, to *unix.RawSockaddrInet4, datagram []byte, arrival time.Duration) {
	if l.perfect {
		l.send(port, to, datagram)
		return
	}
	if !l.loses() {
		l.hold(port, to, datagram, arrival)
	}
	if l.chance(l.Dup) {
		l.hold(port, to, datagram, arrival)
	}
}

func (l *link) hold(port uint8, to *unix.RawSockaddrInet4, datagram []byte, arrival time.Duration) {
	due := arrival + l.Delay
	if l.chance(l.Reorder) {
		due += time.Duration(l.rand.Int64N(int64(reorderHold)))
	}
	var buf []byte
	if last := len(l.spare) - 1; last >= 0 {
		buf, l.spare = l.spare[last], l.spare[:last]
	}
	i := len(l.queue)
	for i > 0 && l.queue[i-1].due > due {
		i--
	}
	l.queue = slices.Insert(l.queue, i, held{due, port, *to, append(buf[:0], datagram...)})
}

// release sends what is due.
func (l *link) release(now time.Duration) {
	n := 0
	for ; n < len(l.queue) && l.queue[n].due <= now; n++ {
		h := &l.queue[n]
		l.send(h.port, &h.to, h.datagram)
		l.spare = append(l.spare, h.datagram)
	}
	l.queue = slices.Delete(l.queue, 0, n)
}

// patience returns how long the adapter may sleep.
func (l *link) patience(now time.Duration) time.Duration {
	if len(l.queue) == 0 {
		return forever
	}
	return max(l.queue[0].due-now, 0)
}

func (l *link) send(port uint8, to *unix.RawSockaddrInet4, datagram []byte) {
	if err := sendTo(l.ports.fds[port], datagram, to); err != nil {
		l.dropped()
	}
}
