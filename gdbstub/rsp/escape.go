package rsp

import (
	"errors"
	"fmt"
)

// ErrEscape says that binary data end in the middle of an escape.
var ErrEscape = errors.New("data end with an unfinished escape")

const (
	escape     = '}'
	escapeFlip = 0x20 // what an escaped byte is xored with (appendix E.1, "Binary Data")
)

// AppendEscaped appends src to dst with the four bytes escaped that mean something in a reply: # $
// } and *, the last because clients would take it for a run length.
func AppendEscaped(dst, src []byte) []byte {
	for _, b := range src {
		switch b {
		case '#', '$', '*', escape:
			dst = append(dst, escape, b^escapeFlip)
		default:
			dst = append(dst, b)
		}
	}
	return dst
}

// AppendUnescaped appends to dst the bytes that src encodes: the binary part of a request.
func AppendUnescaped(dst, src []byte) ([]byte, error) {
	for i := 0; i < len(src); i++ {
		b := src[i]
		if b == escape {
			i++
			if i == len(src) {
				return dst, fmt.Errorf("unescape: %w", ErrEscape)
			}
			b = src[i] ^ escapeFlip
		}
		dst = append(dst, b)
	}
	return dst, nil
}
