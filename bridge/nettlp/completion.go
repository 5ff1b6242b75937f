package nettlp

import (
	"encoding/binary"
	"fmt"
)

// Completion answers a memory read: CplD with data, Cpl without (PCIe base spec §2.2.9).
type Completion struct {
	Status    Status
	Completer ID
	Requester ID    // copied from the request
	Tag       uint8 // copied from the request
	// ByteCount is how many bytes of the request are still to come, those of this completion
	// included: 1…4096.
	ByteCount int
	Lower     uint8 // low seven bits of the address of the first enabled byte
	Class     uint8 // copied from the request
	Attr      uint8 // copied from the request
	Poisoned  bool  // EP: the data are known to be bad
	Data      bool  // CplD
	// Payload holds the data in whole DWs, aliasing the datagram. It starts at the DW that holds
	// the first enabled byte.
	Payload []byte
}

// AppendHeaderTo appends the 12 bytes of the header to b, for a payload of n bytes, a multiple of
// four; the payload is the caller's to append.
func (c *Completion) AppendHeaderTo(b []byte, n int) []byte {
	d := dw0{kind: Cpl, class: c.Class, attr: c.Attr, poisoned: c.Poisoned, length: n / 4}
	if c.Data {
		d.kind = CplD
	}
	b = d.appendTo(b)
	b = binary.BigEndian.AppendUint16(b, uint16(c.Completer))
	b = binary.BigEndian.AppendUint16(b, uint16(c.Status)<<13|uint16(c.ByteCount)&0xfff)
	b = binary.BigEndian.AppendUint16(b, uint16(c.Requester))
	return append(b, c.Tag, c.Lower&0x7f)
}

// DecodeCompletion reads a Cpl or CplD. Bytes after the payload, such as a digest, are passed over.
// Errors wrap [ErrBadTLP].
func DecodeCompletion(b []byte) (Completion, error) {
	d, err := decodeDW0(b, header3DW)
	if err != nil {
		return Completion{}, err
	}
	if d.kind != Cpl && d.kind != CplD {
		return Completion{}, fmt.Errorf("%w: kind %#02x is no completion", ErrBadTLP, uint8(d.kind))
	}
	count := binary.BigEndian.Uint16(b[6:])
	c := Completion{
		Status:    Status(count >> 13),
		Completer: ID(binary.BigEndian.Uint16(b[4:])),
		Requester: ID(binary.BigEndian.Uint16(b[8:])),
		Tag:       b[10],
		ByteCount: int(count & 0xfff),
		Lower:     b[11] & 0x7f,
		Class:     d.class,
		Attr:      d.attr,
		Poisoned:  d.poisoned,
		Data:      d.kind == CplD,
	}
	if c.ByteCount == 0 {
		c.ByteCount = pageSize
	}
	if !c.Data {
		return c, nil
	}
	if len(b)-header3DW < 4*d.length {
		return Completion{}, fmt.Errorf("%w: %d bytes of data, its Length says %d",
			ErrBadTLP, len(b)-header3DW, 4*d.length)
	}
	c.Payload = b[header3DW : header3DW+4*d.length]
	return c, nil
}

// cut says what the completion that starts at byte cur carries when a completer answers a read up
// to byte end: the bytes dw up to stop, whole DWs. A completion holds at most mps bytes and ends at
// a multiple of rcb unless it is the last (PCIe base spec §2.3.1.1). All are offsets within one 4
// KiB page.
func cut(cur, end, mps, rcb int) (dw, stop int) {
	dw = cur &^ 3
	limit := (dw + mps) &^ (rcb - 1)
	if limit <= dw {
		limit = dw + rcb
	}
	return dw, min(limit, (end+3)&^3)
}
