package nettlp

import (
	"time"

	"physgdb/bridge"
)

// piece is a part of an op that one request fetches: it crosses no 4 KiB boundary and is not longer
// than MRRS.
type piece struct {
	op     int // index in the batch
	addr   bridge.PhysAddr
	buf    []byte
	tries  int           // requests sent for it
	tag    uint8         // of the last of them
	giveUp time.Duration // when its time is over, on the batch's clock; 0 before the first try
	why    error         // the last thing that went wrong with it, nil for mere silence
}

// cutter cuts the ops of a batch into pieces, in order.
type cutter struct {
	ops  []bridge.Op
	mrrs int
	op   int // the op to cut next,
	off  int // from this byte on
}

// more reports whether anything is left to cut. Of an op that has failed already nothing more is
// wanted: it counts only up to its first unread byte.
func (c *cutter) more() bool {
	for ; c.op < len(c.ops); c.op, c.off = c.op+1, 0 {
		if op := &c.ops[c.op]; op.Err == nil && c.off < len(op.Buf) {
			return true
		}
	}
	return false
}

// peek returns the next piece, of which more must have reported that there is one.
func (c *cutter) peek() piece {
	op := &c.ops[c.op]
	addr := op.Addr + bridge.PhysAddr(c.off)
	n := min(len(op.Buf)-c.off, c.mrrs, pageSize-int(addr&(pageSize-1)))
	return piece{op: c.op, addr: addr, buf: op.Buf[c.off : c.off+n]}
}

// skip skips the first n bytes of the piece that peek returns.
func (c *cutter) skip(n int) { c.off += n }

// fail records that the piece could not be read. The op keeps the lowest address that failed.
func (p *piece) fail(ops []bridge.Op, err error) {
	op := &ops[p.op]
	if !p.wanted(ops) {
		return
	}
	missing := len(op.Buf) - int(p.addr-op.Addr)
	op.Err = &bridge.AccessError{Addr: p.addr, Len: missing, Err: err}
}

// wanted reports whether the op still counts as read up to this piece.
func (p *piece) wanted(ops []bridge.Op) bool {
	failed, ok := ops[p.op].Err.(*bridge.AccessError)
	return !ok || p.addr < failed.Addr
}

// limit is the address after the last byte of the piece.
func (p *piece) limit() bridge.PhysAddr { return p.addr + bridge.PhysAddr(len(p.buf)) }

// got moves the piece past its first n bytes.
func (p *piece) got(n int) {
	p.addr += bridge.PhysAddr(n)
	p.buf = p.buf[n:]
}
