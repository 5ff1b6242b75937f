package nettlp

import (
	"errors"
	"fmt"
	"time"

	"physgdb/bridge"
)

// Why an answer is not believed. A request is sent again after any of them.
var (
	errStale     = fmt.Errorf("%w: only answers stamped before the request", bridge.ErrMalformed)
	errTag       = fmt.Errorf("%w: completion for another tag", bridge.ErrMalformed)
	errRequester = fmt.Errorf("%w: completion for another requester ID", bridge.ErrMalformed)
	errNoData    = fmt.Errorf("%w: successful completion without data", bridge.ErrMalformed)
	errCount     = fmt.Errorf("%w: completion for more bytes than were asked for", bridge.ErrMalformed)
	errLower     = fmt.Errorf("%w: completion for another address", bridge.ErrMalformed)
	errLength    = fmt.Errorf("%w: completion longer than its byte count", bridge.ErrMalformed)
	errRetry     = fmt.Errorf("%w: %v", bridge.ErrRefused, StatusCRS)
)

// No fault of the answer.
var (
	errDuplicate = errors.New("duplicate completion") // the bytes came before
	errLate      = errors.New("completion of an earlier request")
)

// refusal is an answer that no retry would change.
type refusal struct {
	what string
	last bool // no completion follows
}

func (r *refusal) Error() string { return fmt.Sprintf("%v: %s", bridge.ErrRefused, r.what) }
func (r *refusal) Unwrap() error { return bridge.ErrRefused }

// flight is the request in the air under one tag.
type flight struct {
	piece
	active  bool
	expires time.Duration // when to try again
	sent    reference     // the newest stamp when it was sent
	count   int           // bytes received
	seen    dwSet         // which DWs, counted from that of the first byte
}

// begin puts p in the air.
func (f *flight) begin(p piece, sent reference, expires time.Duration) {
	f.piece, f.sent, f.expires = p, sent, expires
	f.active, f.count = true, 0
	f.seen = dwSet{}
}

// end takes the flight down and returns what it did not fetch. Bytes past a gap are fetched again.
func (f *flight) end() piece {
	p := f.piece
	p.got(f.prefix())
	f.active, f.piece = false, piece{}
	return p
}

// fits reports whether a completion belongs to a request of this one's shape: it tells the same
// end, and begins where this one does or a completer may cut it.
func (f *flight) fits(c *Completion) bool {
	at := f.limit() - bridge.PhysAddr(c.ByteCount)
	return c.ByteCount <= len(f.buf) && (bridge.PhysAddr(c.Lower)-at)%endings == 0 &&
		(at == f.addr || at%lineSize == 0 || (at-f.addr&^3)%looseCut == 0)
}

// accept takes the data of a completion that is addressed to this flight and fresh. It reports
// whether all bytes are there. What it checks is PCIe base spec §2.3.1.1, except that it lets a
// completion end at any DW: libtlp's psmem does not keep to RCB.
func (f *flight) accept(c *Completion) (done bool, err error) {
	if err := checkStatus(c); err != nil {
		return false, err
	}
	lead := int(c.Lower & 3)
	off := len(f.buf) - c.ByteCount
	switch {
	case off < 0:
		return false, errCount
	case c.Lower != uint8(f.addr+bridge.PhysAddr(off))&0x7f || off > 0 && lead > 0:
		return false, errLower
	case len(c.Payload) >= lead+c.ByteCount+4:
		return false, errLength
	case !f.seen.add(f.dw(off), len(c.Payload)/4):
		return false, errDuplicate
	}
	f.count += copy(f.buf[off:], c.Payload[lead:])
	return f.count == len(f.buf), nil
}

func checkStatus(c *Completion) error {
	switch {
	case c.Status == StatusCRS:
		return errRetry
	case c.Status != StatusSC:
		return &refusal{c.Status.String(), true}
	case c.Poisoned:
		return &refusal{"data poisoned (EP): the machine knows them to be bad", false}
	case !c.Data:
		return errNoData
	}
	return nil
}

// dw returns the DW, counted from that of the piece's first byte, in which byte off of the piece
// lies.
func (f *flight) dw(off int) int { return (int(f.addr&3) + off) / 4 }

// prefix returns how many bytes at the start of the piece have come.
func (f *flight) prefix() int { return min(max(4*f.seen.prefix()-int(f.addr&3), 0), len(f.buf)) }
