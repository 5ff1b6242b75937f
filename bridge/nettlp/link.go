package nettlp

import (
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Link is the quality of the path from an adapter to its clients. The zero value is perfect.
type Link struct {
	Delay   time.Duration // from the arrival of a request to its completions; any number may be under way
	Loss    float64       // probability that a request, or a completion, is lost
	Dup     float64       // probability that a completion arrives twice
	Reorder float64       // probability that a completion, or its double, is overtaken by later ones
	Seed    uint64        // of the random numbers, so that a run can be repeated
}

// reorderHold is for how long at most a completion is held back so that others overtake it.
const reorderHold = 200 * time.Microsecond

// link sends an adapter's datagrams, with the faults of a Link.
type link struct {
	Link
	ports   *ports
	dropped func()
	rand    *rand.Rand
	queue   []held   // sorted by due
	spare   [][]byte // buffers of datagrams that were sent
	gso     bool     // whether the kernel takes several datagrams as one
	sender  gsoSender
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
	return &link{Link: l, ports: p, dropped: dropped, rand: rand.New(rand.NewPCG(seed, seed))}
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

// transmit takes a datagram that answers what arrived at the given time; release sends it.
func (l *link) transmit(port uint8, to *unix.RawSockaddrInet4, datagram []byte, arrival time.Duration) {
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
	for n < len(l.queue) && l.queue[n].due <= now {
		k := l.coalesce(l.queue[n:], now)
		l.send(l.queue[n : n+k])
		n += k
	}
	for i := range l.queue[:n] {
		l.spare = append(l.spare, l.queue[i].datagram)
	}
	l.queue = slices.Delete(l.queue, 0, n)
}

// coalesce returns how many of the first datagrams of a queue, which is not empty, are due and can
// be sent as one batch.
func (l *link) coalesce(queue []held, now time.Duration) (n int) {
	first := &queue[0]
	segment := len(first.datagram)
	size := segment
	for n = 1; l.gso && n < min(len(queue), maxSegments); n++ {
		h := &queue[n]
		size += len(h.datagram)
		if h.due > now || h.port != first.port || h.to != first.to || len(h.datagram) > segment || size > maxSent {
			return n
		}
		if len(h.datagram) < segment {
			return n + 1
		}
	}
	return n
}

// patience returns how long the adapter may sleep.
func (l *link) patience(now time.Duration) time.Duration {
	if len(l.queue) == 0 {
		return forever
	}
	return max(l.queue[0].due-now, 0)
}

// send sends datagrams that can travel as one.
func (l *link) send(together []held) {
	if len(together) == 1 || !l.sendBatch(together) {
		l.sendEach(together)
	}
}

// sendBatch reports false if the kernel cannot send a batch on this path; it is not tried again.
// The error depends on the kernel's version, and on whether the device or the MTU is the reason.
func (l *link) sendBatch(together []held) bool {
	for i := range together {
		l.sender.add(together[i].datagram)
	}
	first := &together[0]
	switch err := l.sender.send(l.ports.fds[first.port], len(first.datagram), &first.to); err {
	case nil:
	case unix.EINVAL, unix.EMSGSIZE, unix.EIO, unix.EOPNOTSUPP, unix.ENOPROTOOPT:
		l.gso = false
		return false
	default:
		for range together {
			l.dropped()
		}
	}
	return true
}

func (l *link) sendEach(together []held) {
	for i := range together {
		h := &together[i]
		if err := sendTo(l.ports.fds[h.port], h.datagram, &h.to); err != nil {
			l.dropped()
		}
	}
}
