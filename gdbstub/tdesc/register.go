package tdesc

import (
	"encoding/binary"
	"fmt"

	"physgdb/gdbstub/rsp"
)

// maxBits is the width of the largest register that has values here. Wider ones (x87, SSE) are
// always unavailable.
const maxBits = 64

// Available reports whether values, by the names of registers, have one for r.
func (r Register) Available(values map[string]uint64) bool {
	_, known := values[r.Name]
	return known && r.Bits <= maxBits
}

// AppendHex appends the value of r in hex, little-endian, or xx for each byte if r is unavailable.
func (r Register) AppendHex(dst []byte, values map[string]uint64) []byte {
	if !r.Available(values) {
		for range r.Bits / 8 {
			dst = append(dst, "xx"...)
		}
		return dst
	}
	var raw [maxBits / 8]byte
	binary.LittleEndian.PutUint64(raw[:], values[r.Name])
	return rsp.AppendHex(dst, raw[:r.Bits/8])
}

// ParseHex returns the value of r that a client has written in hex, little-endian.
func (r Register) ParseHex(digits []byte) (uint64, error) {
	var raw [maxBits / 8]byte
	if r.Bits > maxBits || len(digits) != r.Bits/4 {
		return 0, fmt.Errorf("a value of %d digits does not fit %s", len(digits), r.Name)
	}
	if _, err := rsp.AppendUnhex(raw[:0], digits); err != nil {
		return 0, fmt.Errorf("value of %s: %w", r.Name, err)
	}
	return binary.LittleEndian.Uint64(raw[:]), nil
}
