package rsp

import (
	"errors"
	"fmt"
	"io"
)

// ErrDamaged says that a packet arrived with a wrong checksum when there was no way to ask for it
// again.
var ErrDamaged = errors.New("wrong checksum")

// Conn speaks packets over a byte stream and keeps the rules of acknowledgement (appendix E.11). It
// starts in ack mode. One goroutine owns it, but for Next.
type Conn struct {
	in    *Reader
	out   *Writer
	noAck bool
}

// NewConn returns a Conn over rw that takes payloads of at most limit bytes; 0 means DefaultLimit.
func NewConn(rw io.ReadWriter, limit int) *Conn {
	return &Conn{in: NewReader(rw, limit), out: NewWriter(rw)}
}

// StartNoAck ends the exchange of acknowledgements, in both directions. Call it after the reply to
// QStartNoAckMode.
func (c *Conn) StartNoAck() { c.noAck = true }

// Progress is Reader.Progress.
func (c *Conn) Progress() (packets uint64, inside bool) { return c.in.Progress() }

// Read returns the next Packet, with its payload (still escaped, valid until the next Read), or the
// next Interrupt. Acknowledgements are dealt with inside. Without them, as on TCP, a wrong checksum
// means that the two sides are out of step: the error is ErrDamaged and the connection should be
// closed.
func (c *Conn) Read() (Kind, []byte, error) {
	for {
		kind, payload, err := c.Next()
		if err != nil {
			return 0, nil, err
		}
		if done, err := c.Settle(kind); done || err != nil {
			return kind, payload, err
		}
	}
}

// Next returns the next event whatever it is and writes nothing, so that it may wait while another
// goroutine writes. The event must then go through Settle.
func (c *Conn) Next() (Kind, []byte, error) { return c.in.Next() }

// Settle does what an event from Next calls for by the rules of acknowledgement. It reports whether
// Read would return it.
func (c *Conn) Settle(kind Kind) (done bool, err error) {
	switch kind {
	case Packet:
		return true, c.ack(true)
	case Interrupt:
		return true, nil
	case Damaged:
		return false, c.ack(false)
	case Nak:
		return false, c.resend()
	}
	return false, nil
}

// Write sends one packet; see Writer.WritePacket.
func (c *Conn) Write(payload []byte) error { return c.out.WritePacket(payload) }

func (c *Conn) ack(good bool) error {
	switch {
	case !c.noAck:
		return c.out.WriteAck(good)
	case !good:
		return fmt.Errorf("read packet: %w", ErrDamaged)
	}
	return nil
}

// resend answers a '-'. gdb also writes one after each 2 s without a reply, even in no-ack mode,
// where it must be ignored: a second copy of a reply would be taken for the answer to the next
// request.
func (c *Conn) resend() error {
	if c.noAck {
		return nil
	}
	return c.out.Resend()
}
