package rsp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Writer frames packets. Each one leaves in a single Write, because clients time out between bytes,
// too.
type Writer struct {
	out    io.Writer
	frame  []byte // the last packet as sent, kept for Resend and reused
	resent int    // how often it was sent again
}

// NewWriter returns a Writer of packets to w.
func NewWriter(w io.Writer) *Writer { return &Writer{out: w} }

// errForbidden reports a byte that a payload must carry escaped.
var errForbidden = errors.New("unescaped $ or # in a payload")

// WritePacket sends payload as one packet. The payload must be escaped already (AppendEscaped)
// where it is binary; a raw '$' or '#' is refused, as it would desynchronise the client
// permanently. payload may be used again after.
func (w *Writer) WritePacket(payload []byte) error {
	sum, clean := checksum(payload)
	if !clean {
		return fmt.Errorf("write packet: %w", errForbidden)
	}
	w.resent = 0
	w.frame = append(w.frame[:0], '$')
	w.frame = append(w.frame, payload...)
	w.frame = append(w.frame, '#', hexDigits[sum>>4], hexDigits[sum&0xf])
	return w.write(w.frame)
}

// maxResends is how often a packet is sent again: gdb asks at most three times (MAX_TRIES of
// gdb/remote.c). Without a bound a peer could turn each byte it sends into the largest packet.
const maxResends = 8

// Resend sends the last packet once more, or nothing if there was none. The error is ErrDamaged if
// it never arrives.
func (w *Writer) Resend() error {
	if len(w.frame) == 0 {
		return nil
	}
	if w.resent == maxResends {
		return fmt.Errorf("write packet: no acknowledgement after %d retransmissions: %w", maxResends, ErrDamaged)
	}
	w.resent++
	return w.write(w.frame)
}

// WriteAck sends '+' for a good packet and '-' for a damaged one.
func (w *Writer) WriteAck(good bool) error {
	if good {
		return w.write([]byte{'+'})
	}
	return w.write([]byte{'-'})
}

func (w *Writer) write(p []byte) error {
	if _, err := w.out.Write(p); err != nil {
		return fmt.Errorf("write packet: %w", err)
	}
	return nil
}

// checksum adds the bytes of p modulo 256 and says whether p is free of the two bytes that frame a
// packet. It takes eight bytes at a time, since a memory reply has 128 KiB.
func checksum(p []byte) (sum byte, clean bool) {
	var wide uint64
	clean = true
	for len(p) >= 8 {
		word := binary.LittleEndian.Uint64(p)
		wide += addBytes(word)
		clean = clean && !hasByte(word, '$') && !hasByte(word, '#')
		p = p[8:]
	}
	for _, b := range p {
		wide += uint64(b)
		clean = clean && b != '$' && b != '#'
	}
	return byte(wide), clean
}

// addBytes returns the sum of the eight bytes of a word.
func addBytes(word uint64) uint64 {
	const evenBytes, lanes = 0x00ff00ff00ff00ff, 0x0001000100010001
	pairs := word&evenBytes + word>>8&evenBytes // four 16-bit sums, each at most 510
	return pairs * lanes >> 48                  // the multiplication adds all four in its top lane
}

// hasByte says whether one of the eight bytes of a word is b (the "haszero" of Bit Twiddling
// Hacks).
func hasByte(word uint64, b byte) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	diff := word ^ ones*uint64(b)
	return (diff-ones)&^diff&tops != 0
}
