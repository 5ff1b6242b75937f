package nettlp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// BasePort is the UDP port of tag 0; tag t has BasePort+t (NetTLP libtlp include/libtlp.h).
	BasePort = 0x3000
	// MaxTags is the number of tags in the eight bits of a TLP's tag field.
	MaxTags = 256

	wakeEvent  = -1 // the eventfd, where an epoll event has the number of its port
	timerEvent = -2 // the timer
	forever    = time.Duration(-1)

	// coarse is from when on a wait may be late by a millisecond.
	coarse = 20 * time.Millisecond
)

// ports is one UDP socket per tag and what is needed to wait for any of them. Only the goroutine
// that has the turn uses it, except for wake.
type ports struct {
	fds    []int // by tag
	epoll  int
	event  int // eventfd: readable after wake
	timer  int // timerfd, for waits that are to be exact
	events []unix.EpollEvent
	in     gsoReceiver
}

// openPorts binds n sockets from base on. If remote is valid, each talks to the same port there and
// to nothing else.
func openPorts(local, remote netip.Addr, base uint16, n int) (*ports, error) {
	p := &ports{epoll: -1, event: -1, timer: -1, events: make([]unix.EpollEvent, n+2)}
	if err := p.open(local, remote, base, n); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *ports) open(local, remote netip.Addr, base uint16, n int) (err error) {
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if p.event, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	if err = p.watch(p.event, wakeEvent, 0); err != nil {
		return err
	}
	if p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	if err = p.watch(p.timer, timerEvent, unix.EPOLLET); err != nil { // it is set again, never read
		return err
	}
	for i := range n {
		at := netip.AddrPortFrom(local, base+uint16(i))
		fd, err := openSocket(at)
		if err != nil {
			return explainBind(at, err)
		}
		p.fds = append(p.fds, fd)
		if remote.IsValid() {
			err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: remote.As4()})
			if err != nil {
				return fmt.Errorf("no way from %s to %s: %w", local, remote, err)
			}
			enableGRO(fd)
		}
		if err := p.watch(fd, int32(i), 0); err != nil {
			return err
		}
	}
	return nil
}

func (p *ports) watch(fd int, name int32, how uint32) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | how, Fd: name}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

func explainBind(at netip.AddrPort, err error) error {
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("local address %s is not one of this machine's: see `ip addr`, or give it with `ip addr add`: %w",
			at.Addr(), err)
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("UDP port %s is taken: does another physgdb or libtlp program run here? %w", at, err)
	}
	return fmt.Errorf("UDP port %s: %w", at, err)
}

// close frees the sockets. No goroutine may use p, or be about to wake it.
func (p *ports) close() {
	for _, fd := range append(p.fds, p.event, p.timer, p.epoll) {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// send and recv move datagrams on the port of a tag, to and from the remote given to openPorts:
// one, or what of one length travelled together, at most maxBatch bytes. They never wait.
func (p *ports) send(tag uint8, datagram []byte) error { return sendTo(p.fds[tag], datagram, nil) }
func (p *ports) recv(tag uint8, buf []byte) (t gsoBatch, err error) {
	return p.in.recv(p.fds[tag], buf)
}

// wait returns what became ready within d: at most one event per port, named by its Fd field, or
// wakeEvent.
func (p *ports) wait(d time.Duration) ([]unix.EpollEvent, error) {
	ms := -1
	switch {
	case d == forever:
	case d > 0 && d < coarse:
		if err := p.arm(d); err != nil {
			return nil, err
		}
	default:
		ms = int((d + time.Millisecond - 1) / time.Millisecond)
	}
	n, err := unix.EpollWait(p.epoll, p.events, ms)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	ready := p.events[:max(n, 0)]
	for i := range ready {
		if ready[i].Fd == timerEvent {
			return slices.Delete(ready, i, i+1), nil
		}
	}
	return ready, nil
}

// arm makes the next wait return after d: epoll itself counts in milliseconds.
func (p *ports) arm(d time.Duration) error {
	when := unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}
	if err := unix.TimerfdSettime(p.timer, 0, &when, nil); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	return nil
}

// wake makes the present wait, or the next, return.
func (p *ports) wake() {
	one := [8]byte{1}
	unix.Write(p.event, one[:]) // fails only when it is as readable as can be
}

// awake takes note of a wakeEvent, so that the next wait sleeps again.
func (p *ports) awake() {
	var count [8]byte
	unix.Read(p.event, count[:])
}

// wakeWhenDone wakes p when ctx is done, until the returned function is called. After that nothing
// wakes p any more.
func (p *ports) wakeWhenDone(ctx context.Context) (undo func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		p.wake()
		close(woken)
	})
	return func() {
		if !stop() {
			<-woken
		}
	}
}
