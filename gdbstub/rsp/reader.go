package rsp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// ErrTooLong says that a packet exceeds the Reader's limit. The stream cannot be used any more.
var ErrTooLong = errors.New("packet exceeds the size limit")

// Kind is what a Reader found in the stream.
type Kind uint8

// What a Reader can find.
const (
	Packet    Kind = iota // a whole packet with the right checksum
	Damaged               // a packet whose checksum is wrong; its payload is not given
	Ack                   // '+'
	Nak                   // '-': the peer wants the last packet again
	Interrupt             // 0x03 outside of a packet
)

// Reader finds packets in a byte stream. It holds at most one packet in memory.
type Reader struct {
	in      *bufio.Reader
	payload []byte // of the current packet, reused
	limit   int

	packets uint64 // whole ones so far, damaged or not
	inside  bool   // the stream has come to a '$' whose packet has not ended
}

// NewReader returns a Reader of the packets in r whose payloads have at most limit bytes; 0 means
// DefaultLimit.
func NewReader(r io.Reader, limit int) *Reader {
	if limit <= 0 {
		limit = DefaultLimit
	}
	return &Reader{in: bufio.NewReader(r), limit: limit}
}

// Next returns the next event. For a Packet it also returns the payload, still escaped and valid
// until the next call. Bytes that belong to nothing are skipped, as appendix E.1 asks.
//
// At the end of the stream the error is io.EOF between packets and io.ErrUnexpectedEOF inside one.
func (r *Reader) Next() (Kind, []byte, error) {
	for {
		b, err := r.in.ReadByte()
		if err != nil {
			return 0, nil, err
		}
		switch b {
		case '$':
			return r.packet()
		case '+':
			return Ack, nil, nil
		case '-':
			return Nak, nil, nil
		case interrupt:
			return Interrupt, nil, nil
		}
	}
}

// Progress returns how many packets have arrived whole and whether another has begun. The source of
// the bytes uses it to limit how long the rest may take.
func (r *Reader) Progress() (packets uint64, inside bool) { return r.packets, r.inside }

// packet reads what follows a '$'.
func (r *Reader) packet() (Kind, []byte, error) {
	r.inside = true
	sum, err := r.readPayload()
	if err != nil {
		return 0, nil, err
	}
	want, err := r.readChecksum()
	if err != nil {
		return 0, nil, err
	}
	r.inside = false
	r.packets++
	if want != int(sum) {
		return Damaged, nil, nil
	}
	return Packet, r.payload, nil
}

// readPayload fills r.payload up to the '#' and returns the sum of its bytes.
func (r *Reader) readPayload() (sum byte, err error) {
	r.payload = r.payload[:0]
	for {
		b, err := r.in.ReadByte()
		if err != nil {
			return 0, unexpected(err)
		}
		switch {
		case b == '#':
			return sum, nil
		case b == '$': // never appears unescaped: the peer gave up a packet and started again
			r.payload, sum = r.payload[:0], 0
			continue
		case len(r.payload) == r.limit:
			return 0, fmt.Errorf("read packet: %w (%d bytes)", ErrTooLong, r.limit)
		}
		r.payload = append(r.payload, b)
		sum += b
	}
}

// readChecksum reads the two digits after '#'. Anything but hex digits gives -1, which no sum
// equals.
func (r *Reader) readChecksum() (int, error) {
	hi, err := r.in.ReadByte()
	if err != nil {
		return 0, unexpected(err)
	}
	lo, err := r.in.ReadByte()
	if err != nil {
		return 0, unexpected(err)
	}
	h, okHi := nibble(hi)
	l, okLo := nibble(lo)
	if !okHi || !okLo {
		return -1, nil
	}
	return int(h)<<4 | int(l), nil
}

// unexpected distinguishes an end of file inside a packet from one between packets.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read packet: %w", err)
}
