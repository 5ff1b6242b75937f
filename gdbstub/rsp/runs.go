package rsp

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// Run-length encoding (gdb manual, appendix E.1 "Overview"): a character, '*', and a count of its
// further repetitions, as the character count+29. Clients expand it before they look at a reply, so
// it fits every reply that is text. It must not be used where a '}' escapes: which of the two is
// undone first differs.
const (
	runMark = '*'
	runBias = 29
	minRun  = 3  // repetitions worth a mark and a count
	maxRun  = 97 // repetitions; more would not be a printable character
)

// AppendHexRuns appends the digits of src, long runs of the same digit encoded as such. It
// allocates nothing if dst has room for all digits.
//
// Runs are looked for eight bytes at a time, in words of sixteen equal digits: what memory has of
// runs is mostly zeros, and all other memory costs next to nothing more than AppendHex.
func AppendHexRuns(dst, src []byte) []byte {
	dst = slices.Grow(dst, 2*len(src))
	for len(src) >= 8 {
		word := binary.LittleEndian.Uint64(src)
		if word != bits.RotateLeft64(word, 4) {
			at := len(dst)
			dst = dst[:at+16]
			binary.LittleEndian.PutUint64(dst[at:], eightDigits(uint32(word)))
			binary.LittleEndian.PutUint64(dst[at+8:], eightDigits(uint32(word>>32)))
			src = src[8:]
			continue
		}
		n := 8
		for len(src)-n >= 8 && binary.LittleEndian.Uint64(src[n:]) == word {
			n += 8
		}
		dst = appendRun(dst, hexDigits[word&0xf], 2*n)
		src = src[n:]
	}
	return AppendHex(dst, src)
}

// AppendRuns appends text, which holds no '*', with its runs encoded.
func AppendRuns(dst, text []byte) []byte {
	for len(text) > 0 {
		n := 1
		for n < len(text) && text[n] == text[0] {
			n++
		}
		dst = appendRun(dst, text[0], n)
		text = text[n:]
	}
	return dst
}

// appendRun appends the encoding of n times c.
func appendRun(dst []byte, c byte, n int) []byte {
	for n > minRun {
		count := repetitions(n - 1)
		dst = append(dst, c, runMark, byte(count+runBias))
		n -= count + 1
	}
	for ; n > 0; n-- {
		dst = append(dst, c)
	}
	return dst
}

// repetitions returns how many of n one count may encode: not those whose characters mean
// something to a client that looks for the frame of a packet.
func repetitions(n int) int {
	n = min(n, maxRun)
	for n == '#'-runBias || n == '$'-runBias || n == '+'-runBias || n == '-'-runBias {
		n--
	}
	return n
}
