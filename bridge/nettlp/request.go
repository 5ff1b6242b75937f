package nettlp

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"physgdb/bridge"
)

// Request is a memory request: MRd or MWr (PCIe base spec §2.2.7).
type Request struct {
	Write     bool // MWr, otherwise MRd
	Locked    bool // MRdLk; such a request is decoded only so that it can be refused
	Requester ID
	Tag       uint8
	Addr      bridge.PhysAddr // first enabled byte
	Len       int             // bytes from the first enabled one to the last; 0 is the read that only flushes
	Class     uint8           // traffic class; completions copy it
	Attr      uint8           // relaxed ordering and no-snoop; completions copy them
	// Payload holds the data of a write as they came, aliasing the datagram. libtlp sends fewer
	// than Length DWs for short writes, so it may be shorter than Len.
	Payload []byte
}

// Crosses reports whether the request breaks the rule that none crosses a 4 KiB boundary (PCIe base
// spec §2.2.7). Real root complexes never answer such a read.
func (r *Request) Crosses() bool { return int(r.Addr&(pageSize-1))+r.Len > pageSize }

// AppendMRd appends the TLP of a memory read to b: 3DW when the address fits 32 bits, 4DW
// otherwise. The request must not cross a 4 KiB boundary.
func (r *Request) AppendMRd(b []byte) []byte {
	dws, first, last := byteEnables(r.Addr, r.Len)
	d := dw0{kind: MRd3, class: r.Class, attr: r.Attr, length: dws}
	if r.Addr>>32 != 0 {
		d.kind = MRd4
	}
	b = d.appendTo(b)
	b = binary.BigEndian.AppendUint16(b, uint16(r.Requester))
	b = append(b, r.Tag, last<<4|first)
	if d.kind == MRd4 {
		b = binary.BigEndian.AppendUint32(b, uint32(r.Addr>>32))
	}
	return binary.BigEndian.AppendUint32(b, uint32(r.Addr)&^3)
}

// DecodeRequest reads an MRd, MRdLk or MWr. Errors wrap [ErrBadTLP].
func DecodeRequest(b []byte) (Request, error) {
	d, err := decodeDW0(b, header3DW)
	if err != nil {
		return Request{}, err
	}
	r := Request{Class: d.class, Attr: d.attr}
	switch d.kind {
	case MRd3, MRd4:
	case MRdLk3, MRdLk4:
		r.Locked = true
	case MWr3, MWr4:
		r.Write = true
	default:
		return Request{}, fmt.Errorf("%w: kind %#02x is no memory request", ErrBadTLP, uint8(d.kind))
	}
	r.Requester = ID(binary.BigEndian.Uint16(b[4:]))
	r.Tag = b[6]
	header := header3DW
	addr := bridge.PhysAddr(binary.BigEndian.Uint32(b[8:]))
	if d.kind&fmt4DW != 0 {
		if header = header4DW; len(b) < header {
			return Request{}, fmt.Errorf("%w: %d bytes, the header has %d", ErrBadTLP, len(b), header)
		}
		addr = addr<<32 | bridge.PhysAddr(binary.BigEndian.Uint32(b[12:]))
	}
	lead, n, err := enabledSpan(d.length, b[7]&0xf, b[7]>>4)
	if err != nil {
		return Request{}, err
	}
	r.Addr, r.Len = addr&^3+bridge.PhysAddr(lead), n
	if r.Write {
		r.Payload = b[header:min(len(b), header+4*d.length)]
	}
	return r, nil
}

// byteEnables says which bytes of which DWs n bytes at addr are (PCIe base spec §2.2.5). Bit i of
// an enable is byte i of the DW.
func byteEnables(addr bridge.PhysAddr, n int) (dws int, first, last uint8) {
	off := int(addr & 3)
	switch dws = (off + n + 3) / 4; {
	case n == 0:
		return 1, 0, 0
	case dws == 1:
		return 1, (1<<n - 1) << off, 0
	}
	return dws, 0xf << off & 0xf, 0xf >> ((4 - (off+n)&3) & 3)
}

// enabledSpan is the inverse: how many bytes of the first DW precede the first enabled byte, and
// how many bytes there are from it to the last enabled one. Holes within one or two DWs are legal
// and counted in, as completions count them (PCIe base spec §2.3.1.1).
func enabledSpan(dws int, first, last uint8) (lead, n int, err error) {
	unbroken := (first|(first-1))&0xf == 0xf && last&(last+1) == 0
	switch {
	case dws == 1 && last != 0, dws > 1 && (first == 0 || last == 0), dws > 2 && !unbroken:
		return 0, 0, fmt.Errorf("%w: byte enables %#x and %#x with %d DWs", ErrBadTLP, first, last, dws)
	case dws == 1 && first == 0:
		return 0, 0, nil
	case dws == 1:
		last = first
	}
	lead = bits.TrailingZeros8(first)
	trail := bits.LeadingZeros8(last) - 4
	return lead, 4*dws - lead - trail, nil
}
