package nettlp

import "encoding/binary"

// stampSize is the length in bytes of the NetTLP header that precedes the TLP in a datagram.
const stampSize = 6

// Stamp is the NetTLP header (NetTLP libtlp lib/libtlp.c, struct nettlp_hdr): an adapter counts
// what it transmits, on all ports together, and notes the time. Initiators leave it zero.
type Stamp struct {
	Sequence  uint16 // TLPs transmitted so far; wraps
	Timestamp uint32 // ticks of 6.4 ns (156.25 MHz); wraps after 27 s
}

// AppendTo appends the six bytes of the header to b.
func (s Stamp) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, s.Sequence)
	return binary.BigEndian.AppendUint32(b, s.Timestamp)
}

// After reports whether s was transmitted after o. Both counters wrap, so the two must lie less
// than half a wrap, 13 s, apart.
func (s Stamp) After(o Stamp) bool {
	if d := int32(s.Timestamp - o.Timestamp); d != 0 {
		return d > 0
	}
	return int16(s.Sequence-o.Sequence) > 0
}

// DecodeStamp takes the header off a datagram and returns what follows it, the TLP. It reports
// false if the datagram is too short to hold one.
func DecodeStamp(datagram []byte) (s Stamp, tlp []byte, ok bool) {
	if len(datagram) < stampSize {
		return Stamp{}, nil, false
	}
	s.Sequence = binary.BigEndian.Uint16(datagram)
	s.Timestamp = binary.BigEndian.Uint32(datagram[2:])
	return s, datagram[stampSize:], true
}
