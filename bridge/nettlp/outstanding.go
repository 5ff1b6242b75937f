package nettlp

import (
	"errors"
	"fmt"
	"time"

	"physgdb/bridge"
)

// Why an answer is invalid. The request is sent again after each of them.
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

// Valid answers that bring nothing new.
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

// outstanding is the request of one tag that has not been answered in full.
type outstanding struct {
	piece
	active  bool
	expires time.Duration // when to try again
	sent    reference     // the newest stamp when it was sent
	count   int           // bytes received
	seen    dwSet         // which DWs, counted from that of the first byte
}

// begin records that p was sent.
func (f *outstanding) begin(p piece, sent reference, expires time.Duration) {
	f.piece, f.sent, f.expires = p, sent, expires
	f.active, f.count = true, 0
	f.seen = dwSet{}
}

// end ends the request and returns the part it did not fetch. Bytes after a gap are fetched again.
func (f *outstanding) end() piece {
	p := f.piece
	p.got(f.prefix())
	f.active, f.piece = false, piece{}
	return p
}

// fits reports whether a completion may belong to a request of this shape: it has the same end, and
// begins where this request does or where a completer may cut it.
func (f *outstanding) fits(c *Completion) bool {
	at := f.limit() - bridge.PhysAddr(c.ByteCount)
	return c.ByteCount <= len(f.buf) && (bridge.PhysAddr(c.Lower)-at)%endings == 0 &&
		(at == f.addr || at%lineSize == 0 || (at-f.addr&^3)%looseCut == 0)
}

// accept copies the data of a completion that is addressed to this request and fresh. It reports
// whether all bytes are there. What it checks is PCIe base spec §2.3.1.1, except that it lets a
// completion end at any DW: libtlp's psmem does not keep to RCB.
func (f *outstanding) accept(c *Completion) (done bool, err error) {
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
func (f *outstanding) dw(off int) int { return (int(f.addr&3) + off) / 4 }

// prefix returns how many bytes at the start of the piece have arrived.
func (f *outstanding) prefix() int { return min(max(4*f.seen.prefix()-int(f.addr&3), 0), len(f.buf)) }
