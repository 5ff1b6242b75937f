package nettlp

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"physgdb/bridge"
)

// job is a request and where its answer goes.
type job struct {
	Request
	port    uint8
	from    unix.RawSockaddrInet4
	arrival time.Duration // on the adapter's clock
}

// receive takes one datagram off a port and answers it.
func (a *Adapter) receive(ctx context.Context, port uint8) {
	j := &a.job
	n, err := recvFrom(a.ports.fds[port], a.in, &j.from)
	if err != nil || a.link.loses() {
		return
	}
	j.port, j.arrival = port, a.now()
	_, tlp, _ := DecodeStamp(a.in[:n])
	if j.Request, err = DecodeRequest(tlp); err != nil {
		a.counters.malformed.Add(1)
		return
	}
	switch {
	case j.Write:
		a.counters.writes.Add(1)
	case j.Locked:
		a.refuse(j, StatusUR)
	default:
		a.counters.requests.Add(1)
		a.read(ctx, j)
	}
	a.link.release(j.arrival)
}

// read answers a memory read.
func (a *Adapter) read(ctx context.Context, j *job) {
	if j.Crosses() {
		a.counters.crossing.Add(1)
		return
	}
	data, err := a.fetch(ctx, j.Addr, j.Len)
	switch {
	case errors.Is(err, bridge.ErrNotRAM), errors.Is(err, bridge.ErrUnknownRAM):
		a.counters.outside(j.Addr)
		a.refuse(j, StatusUR)
	case errors.Is(err, bridge.ErrRefused):
		a.refuse(j, StatusUR)
	case err != nil:
		a.opts.Logger.Debug("read of the adapter's memory failed", "address", uint64(j.Addr), "error", err)
		a.refuse(j, StatusCA)
	default:
		if gone := bridge.InPlace(func() { a.complete(j, data) }); gone != nil {
			a.opts.Logger.Debug("read of the adapter's memory failed", "address", uint64(j.Addr), "error", gone)
			a.refuse(j, StatusCA)
		}
	}
}

// fetch returns n bytes of RAM, in place if the memory can show them.
func (a *Adapter) fetch(ctx context.Context, addr bridge.PhysAddr, n int) ([]byte, error) {
	if a.ram.Known() && !a.ram.Contains(addr, uint64(max(n, 1))) {
		return nil, bridge.ErrNotRAM
	}
	if a.view != nil {
		if data, ok := a.view.View(addr, n); ok {
			return data, nil
		}
	}
	a.ops[0] = bridge.Op{Addr: addr, Buf: a.page[:n]}
	if err := a.mem.ReadPhys(ctx, a.ops[:]); err != nil {
		return nil, err
	}
	return a.page[:n], a.ops[0].Err
}

// complete sends the bytes of a read, cut as a root complex cuts them. Bytes that were not enabled
// go out as zeros.
func (a *Adapter) complete(j *job, data []byte) {
	if j.Len == 0 {
		data = a.page[:1] // a flush is answered with one DW that means nothing (PCIe base spec §2.2.5)
		data[0] = 0
	}
	start := int(j.Addr & (pageSize - 1))
	end := start + len(data)
	for cur := start; cur < end; {
		dw, stop := cut(cur, end, a.opts.MPS, a.opts.RCB)
		upto := min(stop, end)
		c := a.answer(j, StatusSC, end-cur, uint8(cur&0x7f))
		c.Data = true
		b := c.AppendHeaderTo(a.stamp(a.out[:0]), stop-dw)
		b = append(b, make([]byte, cur-dw)...)
		b = append(b, data[cur-start:upto-start]...)
		b = append(b, make([]byte, stop-upto)...)
		a.link.transmit(j.port, &j.from, b, j.arrival)
		a.counters.completions.Add(1)
		a.counters.bytes.Add(uint64(upto - cur))
		cur = upto
	}
}

// refuse answers a read that is not served.
func (a *Adapter) refuse(j *job, s Status) {
	if s == StatusUR {
		a.counters.unsupported.Add(1)
	} else {
		a.counters.aborted.Add(1)
	}
	c := a.answer(j, s, j.Len, uint8(j.Addr&0x7f))
	a.link.transmit(j.port, &j.from, c.AppendHeaderTo(a.stamp(a.out[:0]), 0), j.arrival)
}

func (a *Adapter) answer(j *job, s Status, count int, lower uint8) Completion {
	return Completion{
		Status:    s,
		Completer: a.opts.Completer,
		Requester: j.Requester,
		Tag:       j.Tag,
		ByteCount: count,
		Lower:     lower,
		Class:     j.Class,
		Attr:      j.Attr,
	}
}

// tickTenths is the length of a timestamp's tick in tenths of a nanosecond (156.25 MHz).
const tickTenths = 64

// stamp appends the header of the next datagram to b.
func (a *Adapter) stamp(b []byte) []byte {
	a.seq++
	ticks := uint64(a.since+a.job.arrival) * 10 / tickTenths
	return Stamp{a.seq, uint32(ticks)}.AppendTo(b)
}
