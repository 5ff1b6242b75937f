package nettlp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrBadTLP: the bytes are no TLP of the kind asked for, or break its rules. Decoding errors wrap
// it.
var ErrBadTLP = errors.New("bad TLP")

// Kind is the first byte of a TLP, Fmt and Type (PCIe base spec §2.2.1).
type Kind uint8

// The kinds that NetTLP carries, and the locked read, which it refuses.
const (
	MRd3   Kind = 0x00 // memory read, 32-bit address
	MRd4   Kind = 0x20 // memory read, 64-bit address
	MRdLk3 Kind = 0x01 // locked memory read, 32-bit address
	MRdLk4 Kind = 0x21 // locked memory read, 64-bit address
	MWr3   Kind = 0x40 // memory write, 32-bit address
	MWr4   Kind = 0x60 // memory write, 64-bit address
	Cpl    Kind = 0x0a // completion without data
	CplD   Kind = 0x4a // completion with data
)

const (
	fmt4DW      = 0x20 // in Kind: the header has four DWs, not three
	maxDW       = 1024 // what a Length field of 0 means
	pageSize    = 4096 // no request crosses a multiple of this (PCIe base spec §2.2.7)
	header3DW   = 12   // bytes
	header4DW   = 16   // bytes
	maxDatagram = stampSize + header4DW + pageSize + 4
)

// dw0 is the first DW of every TLP header.
type dw0 struct {
	kind     Kind
	class    uint8 // traffic class, 0…7
	attr     uint8 // bit 1 relaxed ordering, bit 0 no-snoop
	poisoned bool  // EP: the sender knows the data to be bad
	length   int   // DWs of data, 0…1024; 0 only where there are none
}

func (d dw0) appendTo(b []byte) []byte {
	ep := uint8(0)
	if d.poisoned {
		ep = 1 << 6
	}
	n := d.length & (maxDW - 1)
	return append(b, byte(d.kind), d.class<<4, ep|d.attr<<4|byte(n>>8), byte(n))
}

// decodeDW0 reads the first DW of a header that is at least want bytes long. AT is passed over:
// libtlp sets a bit of it in reads of 1024 DWs.
func decodeDW0(b []byte, want int) (dw0, error) {
	if len(b) < want {
		return dw0{}, fmt.Errorf("%w: %d bytes, the header has %d", ErrBadTLP, len(b), want)
	}
	d := dw0{
		kind:     Kind(b[0]),
		class:    b[1] >> 4 & 7,
		attr:     b[2] >> 4 & 3,
		poisoned: b[2]&(1<<6) != 0,
		length:   int(binary.BigEndian.Uint16(b[2:]) & (maxDW - 1)),
	}
	if d.length == 0 {
		d.length = maxDW
	}
	return d, nil
}

// Status is the outcome in a completion (PCIe base spec §2.2.9).
type Status uint8

// Completion statuses.
const (
	StatusSC  Status = 0 // successful completion
	StatusUR  Status = 1 // unsupported request
	StatusCRS Status = 2 // configuration request retry
	StatusCA  Status = 4 // completer abort
)

func (s Status) String() string {
	switch s {
	case StatusSC:
		return "successful completion (SC)"
	case StatusUR:
		return "unsupported request (UR)"
	case StatusCRS:
		return "configuration request retry (CRS)"
	case StatusCA:
		return "completer abort (CA)"
	}
	return fmt.Sprintf("reserved completion status %d", uint8(s))
}
