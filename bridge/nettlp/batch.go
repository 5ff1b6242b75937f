package nettlp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"physgdb/bridge"
)

const (
	never = time.Duration(math.MaxInt64)
	// burst is how many receives one socket gets before the others: enough for a 4 KiB read
	// answered in completions of 64 bytes without coalescing.
	burst = 64
)

// batch drives one ReadPhys from its first request to its last completion. It belongs to the
// goroutine that has the client's turn. There is one for each client, so that late completions and
// the newest stamp outlast a call.
type batch struct {
	c     *Client
	ports *ports
	epoch time.Time // what times are counted from
	out   []byte
	in    []byte

	tags     tagPool
	requests []outstanding // by tag
	active   int           // how many of them are outstanding
	newest   reference

	now     time.Duration // taken once per round of events
	heard   time.Duration // when an answer last arrived, or the batch began
	expires time.Duration // no request expires before this
	cutter  cutter
	again   []piece // to be sent again, before new ones
}

func newBatch(c *Client, p *ports) *batch {
	return &batch{
		c:        c,
		ports:    p,
		epoch:    time.Now(),
		out:      make([]byte, 0, stampSize+header4DW),
		in:       make([]byte, maxBatch),
		tags:     newTagPool(c.opts.pool),
		requests: make([]outstanding, c.opts.pool),
		expires:  never,
	}
}

// read fills ops, or sets their errors. It fails only when it is interrupted.
func (b *batch) read(ctx context.Context, ops []bridge.Op) error {
	b.begin(ops)
	defer b.end()
	for {
		b.fill()
		if b.active == 0 && !b.pending() {
			return nil
		}
		ready, err := b.ports.wait(b.patience())
		if err != nil {
			return err
		}
		b.tick()
		for i := range ready {
			if ready[i].Fd != wakeEvent {
				b.receive(uint8(ready[i].Fd))
				b.fill()
				continue
			}
			b.ports.awake()
			if err := b.c.turn.interrupted(ctx); err != nil {
				return err
			}
		}
		b.expire()
	}
}

func (b *batch) begin(ops []bridge.Op) {
	for i := range ops {
		op := &ops[i]
		op.Err = nil
		if n := len(op.Buf); n > 0 && op.Addr+bridge.PhysAddr(n-1) < op.Addr {
			op.Err = &bridge.AccessError{Addr: op.Addr, Len: n,
				Err: fmt.Errorf("%w: it runs past the end of the address space", bridge.ErrNotRAM)}
		}
	}
	b.cutter = cutter{ops: ops, mrrs: b.c.opts.MRRS}
	b.tick()
	b.heard = b.now
	b.newest.expire(b.now)
}

// end drops references to the caller's data. Outstanding requests are given up.
func (b *batch) end() {
	for tag := range b.requests {
		if b.requests[tag].active {
			b.abort(uint8(tag))
		}
	}
	clear(b.again)
	b.again = b.again[:0]
	b.cutter = cutter{}
	b.expires = never
}

func (b *batch) tick() { b.now = time.Since(b.epoch) }

// patience returns how long to wait for events: until a request times out, until a tag is free for
// a pending piece, or until it is certain that none will be free in time.
func (b *batch) patience() time.Duration {
	until := b.expires
	if b.active < b.c.opts.Tags && b.pending() {
		until = min(until, b.tags.next())
	}
	if b.active == 0 {
		until = min(until, b.heard+b.c.opts.Budget, b.now+awakeAfter)
	}
	return max(until-b.now, 0)
}

// pending reports whether there is anything left to send.
func (b *batch) pending() bool { return len(b.again) > 0 || b.cutter.more() }

// fill sends pending pieces up to the limit of outstanding requests, as far as tags are free.
func (b *batch) fill() {
	for b.active < b.c.opts.Tags && b.pending() {
		p := b.peek()
		tag, n, ok := b.tags.take(b.now, b.newest.known, &p)
		if !ok {
			return
		}
		b.skip(n)
		p.buf = p.buf[:n]
		b.send(tag, p)
	}
}

// next removes the first pending piece and returns it.
func (b *batch) next() piece {
	p := b.peek()
	b.skip(len(p.buf))
	return p
}

func (b *batch) peek() piece {
	if len(b.again) == 0 {
		return b.cutter.peek()
	}
	return b.again[0]
}

// skip skips the first n bytes of the piece that peek returns.
func (b *batch) skip(n int) {
	if len(b.again) == 0 {
		b.cutter.skip(n)
		return
	}
	p := &b.again[0]
	if p.got(n); len(p.buf) == 0 {
		b.again = slices.Delete(b.again, 0, 1)
	}
}

func (b *batch) send(tag uint8, p piece) {
	if p.giveUp == 0 {
		p.giveUp = b.now + b.c.opts.Budget
	}
	p.tag = tag
	if p.tries++; p.tries > 1 {
		b.c.retries.Add(1)
	}
	b.c.packets.Add(1)
	if !b.newest.known {
		b.drain(tag)
	}
	expires := b.now + b.c.opts.Timeout
	b.expires = min(b.expires, expires)
	b.requests[tag].begin(p, b.newest, expires)
	b.active++

	req := Request{Requester: b.c.opts.Requester, Tag: tag, Addr: p.addr, Len: len(p.buf)}
	b.out = req.AppendMRd(Stamp{}.AppendTo(b.out[:0]))
	err := b.ports.send(tag, b.out)
	if errors.Is(err, unix.ECONNREFUSED) {
		err = b.ports.send(tag, b.out) // the first call only reported the ICMP error of an earlier datagram
	}
	if err != nil {
		b.sendFailed(tag, err)
	}
}

// drain discards the datagrams in a tag's socket, which belong to earlier requests.
func (b *batch) drain(tag uint8) {
	for range burst {
		if _, err := b.ports.recv(tag, b.in); err == unix.EAGAIN {
			return
		}
	}
}

// receive reads the datagrams of one port until there are no more or the request is complete.
func (b *batch) receive(tag uint8) {
	f := &b.requests[tag]
	for range burst {
		t, err := b.ports.recv(tag, b.in)
		switch {
		case err == unix.EAGAIN:
			return
		case err != nil && f.active && b.tags.suspect(tag):
			f.why = b.unreachable(err) // perhaps caused by an earlier request
			return
		case err != nil && f.active:
			b.sendFailed(tag, err)
			return
		case err == nil:
			b.takeAll(tag, &t)
		}
		if !f.active {
			return
		}
	}
}

// takeAll handles the datagrams of one receive on the port of a tag. Some may follow the end of the
// request.
func (b *batch) takeAll(tag uint8, t *gsoBatch) {
	for datagram, ok := t.next(); ok; datagram, ok = t.next() {
		if b.requests[tag].active {
			b.take(tag, datagram)
		} else {
			b.late(tag, datagram)
		}
	}
}

// late handles a datagram for a tag without an outstanding request. Its data are ignored, but an
// answer to an earlier request shows that the adapter is alive.
func (b *batch) late(tag uint8, datagram []byte) {
	stamp, tlp, _ := DecodeStamp(datagram)
	c, err := DecodeCompletion(tlp)
	f := &b.requests[tag]
	if err == nil && c.Tag == tag && c.Requester == b.c.opts.Requester && f.sent.fresh(stamp) {
		b.heard = b.now
	}
}

// take handles a datagram for a tag with an outstanding request.
func (b *batch) take(tag uint8, datagram []byte) {
	done, err := b.match(tag, datagram)
	switch {
	case err != nil:
		b.reject(tag, err)
	case done:
		b.answered(tag)
		b.finish(tag)
	default:
		b.answered(tag)
	}
}

// reject handles an answer without data: a refusal, which is final, or an invalid datagram.
func (b *batch) reject(tag uint8, err error) {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		b.answered(tag)
		p := b.refuse(tag, refused)
		p.fail(b.cutter.ops, refused)
	case err != errDuplicate && err != errLate:
		b.requests[tag].why = err
	}
}

// answered records that the adapter answered the outstanding request of tag: in time, unless the
// request is a repeat.
func (b *batch) answered(tag uint8) {
	b.heard = b.now
	if !b.repeats(tag) {
		b.tags.answered(b.now)
	}
}

// repeats reports whether the outstanding request of tag is a repeat of one whose answer may still
// arrive.
func (b *batch) repeats(tag uint8) bool {
	f := &b.requests[tag]
	return b.tags.suspect(tag) && b.tags.double(tag, f.addr, len(f.buf))
}

// match decides whether a datagram answers the outstanding request of tag, and copies its data if
// so.
func (b *batch) match(tag uint8, datagram []byte) (done bool, err error) {
	f := &b.requests[tag]
	stamp, tlp, ok := DecodeStamp(datagram)
	if !ok {
		return false, fmt.Errorf("%w: datagram of %d bytes", bridge.ErrMalformed, len(datagram))
	}
	c, err := DecodeCompletion(tlp)
	switch {
	case err != nil:
		return false, fmt.Errorf("%w: %w", bridge.ErrMalformed, err)
	case c.Tag != tag:
		return false, errTag
	case c.Requester != b.c.opts.Requester:
		return false, errRequester
	case !f.sent.fresh(stamp):
		return false, errStale
	case b.tags.suspect(tag) && !f.fits(&c):
		return false, errLate
	}
	done, err = f.accept(&c)
	if err == nil || errors.As(err, new(*refusal)) {
		b.newest.note(stamp, b.now)
	}
	return done, err
}

// expire retries requests that were not answered in time.
func (b *batch) expire() {
	if b.active == 0 && b.pending() {
		b.starve()
	}
	if b.now < b.expires {
		return
	}
	b.expires = never
	for tag := range b.requests {
		f := &b.requests[tag]
		switch {
		case !f.active:
		case b.now < f.expires:
			b.expires = min(b.expires, f.expires)
		default:
			b.retry(b.abort(uint8(tag)))
		}
	}
}

// starve waits until late completions are over, but no longer than a request may take.
func (b *batch) starve() {
	b.tags.starve(b.now)
	if b.now-b.heard >= b.c.opts.Budget {
		b.giveUp(b.next())
	}
}

// sendFailed handles a request that the network refused, usually because nothing listens at the
// port.
func (b *batch) sendFailed(tag uint8, err error) {
	p := b.remove(tag)
	b.tags.rest(tag, b.now+b.c.opts.Timeout) // nothing received it, so no late completion follows
	p.why = b.unreachable(err)
	p.tries = min(p.tries, b.c.opts.Retries) // this costs no time, so only the budget limits it
	b.retry(p)
}

func (b *batch) unreachable(err error) error {
	o := &b.c.opts
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%w: send to %s: %w", bridge.ErrTimeout, o.Remote, err)
	}
	return fmt.Errorf("%w: nothing listens at %s, UDP ports %d to %d: is the adapter up? %w",
		bridge.ErrTimeout, o.Remote, o.BasePort, int(o.BasePort)+o.pool-1, err)
}

// remove ends an outstanding request and returns the part that is missing.
func (b *batch) remove(tag uint8) piece {
	b.active--
	return b.requests[tag].end()
}

// finish ends a request that was answered in full. If it was a repeat, its own answer may still
// arrive.
func (b *batch) finish(tag uint8) piece {
	if b.repeats(tag) {
		return b.abort(tag)
	}
	b.tags.give(tag)
	return b.remove(tag)
}

// refuse ends a request that was refused. Completions that were sent before and arrive later are
// recognised by their stamps, if there are any.
func (b *batch) refuse(tag uint8, r *refusal) piece {
	if r.last && b.newest.known {
		return b.finish(tag)
	}
	return b.abort(tag)
}

// abort ends a request whose completions may still arrive.
func (b *batch) abort(tag uint8) piece {
	f := &b.requests[tag]
	b.tags.add(tag, f.addr, len(f.buf), b.now)
	b.tags.give(tag)
	return b.remove(tag)
}

// retry queues a piece to be sent again, unless its time is over or it is no longer needed.
func (b *batch) retry(p piece) {
	switch {
	case !p.wanted(b.cutter.ops):
	case p.tries > b.c.opts.Retries || b.now >= p.giveUp:
		b.giveUp(p)
	default:
		b.again = append(b.again, p)
	}
}

// giveUp fails a piece. If nothing was received for as long as a request may take, the rest of the
// batch fails, too.
func (b *batch) giveUp(p piece) {
	err := p.why
	switch {
	case err != nil:
	case p.tries == 0:
		err = fmt.Errorf("%w to earlier requests from adapter %s, so no tag is free: is it up?",
			bridge.ErrTimeout, b.c.opts.Remote)
	default:
		o := &b.c.opts
		err = fmt.Errorf("%w from adapter %s to requester %s after %d tries of %v: is it up, and is that its ID?",
			bridge.ErrTimeout, o.Remote, o.Requester, p.tries, o.Timeout)
	}
	if errors.Is(err, errStale) {
		b.newest = reference{} // the adapter's clock was probably set back
	}
	p.fail(b.cutter.ops, err)
	if b.now-b.heard >= b.c.opts.Budget {
		b.abandon(err)
	}
}

// abandon fails all that is left of the batch.
func (b *batch) abandon(err error) {
	b.c.opts.Logger.Info("NetTLP adapter is silent", "adapter", b.c.opts.Remote, "error", err)
	for tag := range b.requests {
		if b.requests[tag].active {
			p := b.abort(uint8(tag))
			p.fail(b.cutter.ops, err)
		}
	}
	for i := range b.again {
		b.again[i].fail(b.cutter.ops, err)
	}
	b.again = b.again[:0]
	for b.cutter.more() {
		p := b.next()
		p.fail(b.cutter.ops, err)
	}
}
