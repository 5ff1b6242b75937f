package rsp

import (
	"errors"
	"fmt"
	"io"
)

// ErrDamaged says that a packet arrived with a wrong checksum when there was no way to ask for it again.
var ErrDamaged = errors.New("wrong checksum")

// Conn speaks packets over a byte stream and keeps the rules of acknowledgement (appendix E.11). It starts in ack
// mode. One goroutine owns it.
type Conn struct {
	in    *Reader
	out   *Writer
	noAck bool
}

// NewConn returns a Conn over rw that takes payloads of at most limit bytes; 0 means DefaultLimit.
func NewConn(rw io.ReadWriter, limit int) *Conn {
	return &Conn{in: NewReader(rw, limit), out: NewWriter(rw)}
}

// StartNoAck ends the exchange of acknowledgements, in both directions. Call it after the reply to QStartNoAckMode.
func (c *Conn) StartNoAck() { c.noAck = true }

// Read returns the next Packet, with its payload (still escaped, valid until the next Read), or the next Interrupt.
// Acknowledgements are dealt with inside. Without them, as on TCP, a wrong checksum means that the two sides are out
// of step: the error is ErrDamaged and the connection should be closed.
func (c *Conn) Read() (Kind, []byte, error) {
	for {
		kind, payload, err := c.in.Next()
		if err != nil {
			return 0, nil, err
		}
		switch kind {
		case Packet:
			return kind, payload, c.ack(true)
		case Interrupt:
			return kind, nil, nil
		case Damaged:
			err = c.ack(false)
		case Nak:
			err = c.resend()
		}
		if err != nil {
			return 0, nil, err
		}
	}
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

// resend answers a '-'. gdb also writes one after each 2 s without a reply, even in no-ack mode, where it must be
// ignored: a second copy of a reply would be taken for the answer to the next request.
func (c *Conn) resend() error {
	if c.noAck {
		return nil
	}
	return c.out.Resend()
}
