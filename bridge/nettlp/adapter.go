package nettlp

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"physgdb/bridge"
)

// Adapter is a NetTLP adapter in software, the completer: it answers memory reads from any
// bridge.Memory, as a root complex does whose RAM that is. It never writes.
//
// A read that touches anything but RAM is answered "unsupported request", whole, and counted; one
// that crosses a 4 KiB boundary is not answered at all. One goroutine does everything, so other
// requests wait while mem reads the bytes of one.
type Adapter struct {
	opts AdapterOptions // settled; immutable
	mem  bridge.Memory
	view bridge.Viewer // mem, if it can show its bytes in place
	ram  bridge.RAMMap // of mem; if empty, mem reports what is not RAM

	turn     *turn
	ports    *ports
	counters counters

	// Used only by the goroutine that has the turn.
	link  *link
	epoch time.Time     // what times are counted from
	since time.Duration // from the machine's boot to epoch, so that stamps do not start over with the process
	seq   uint16
	in    []byte
	out   []byte
	page  []byte // bytes of mem that cannot be viewed
	ops   [1]bridge.Op
	job   job // the request being answered
}

// NewAdapter binds an adapter's sockets. Closing it leaves mem open.
func NewAdapter(mem bridge.Memory, o *AdapterOptions) (*Adapter, error) {
	opts, err := o.settle()
	if err != nil {
		return nil, err
	}
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &boot); err != nil {
		return nil, fmt.Errorf("monotonic clock: %w", err)
	}
	p, err := openPorts(opts.Listen, netip.Addr{}, opts.BasePort, opts.Tags)
	if err != nil {
		return nil, err
	}
	a := &Adapter{
		opts:  opts,
		mem:   mem,
		view:  bridge.ViewerOf(mem),
		ram:   mem.Info().RAM,
		turn:  newTurn(),
		ports: p,
		epoch: time.Now(),
		since: time.Duration(boot.Nano()),
		in:    make([]byte, maxDatagram),
		out:   make([]byte, 0, maxDatagram),
		page:  make([]byte, pageSize),
	}
	a.link = newLink(opts.Link, p, func() { a.counters.dropped.Add(1) })
	a.link.gso = hasGSO(p.fds[0])
	return a, nil
}

// Serve answers requests until ctx is done or Close is called, and returns nil then.
func (a *Adapter) Serve(ctx context.Context) error {
	if a.turn.take(ctx) != nil {
		return nil
	}
	defer a.turn.give()
	defer a.ports.wakeWhenDone(ctx)()
	a.opts.Logger.Info("NetTLP adapter ready", "address", a.opts.Listen, "memory", a.mem.Info().Name)
	for {
		ready, err := a.ports.wait(a.link.patience(a.now()))
		if err != nil {
			return fmt.Errorf("NetTLP adapter: %w", err)
		}
		for i := range ready {
			if ready[i].Fd != wakeEvent {
				a.receive(ctx, uint8(ready[i].Fd))
				continue
			}
			a.ports.awake()
			if a.turn.interrupted(ctx) != nil {
				return nil
			}
		}
		a.link.release(a.now())
	}
}

// Stats returns what was counted so far.
func (a *Adapter) Stats() Stats { return a.counters.stats() }

// Close ends Serve and frees the sockets.
func (a *Adapter) Close() error {
	a.turn.close(a.ports)
	return nil
}

func (a *Adapter) now() time.Duration { return time.Since(a.epoch) }
