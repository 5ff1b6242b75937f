package plain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// WriteJSON writes a value as JSON on one line. Characters of strings that are not printable are escaped, as \u202e, and
// bytes that are no UTF-8 are \ufffd. People search such lines, and see < > & as they are.
func WriteJSON(w io.Writer, value any) error {
	var line bytes.Buffer
	out := json.NewEncoder(&line)
	out.SetEscapeHTML(false)
	if err := out.Encode(value); err != nil {
		return err
	}
	text := line.Bytes()
	if clean(text) < len(text) {
		text = appendJSON(nil, string(text))
	}
	_, err := w.Write(text)
	return err
}

// appendJSON appends JSON that is valid already to dst. What is not printable can only be part of a string there.
func appendJSON(dst []byte, text string) []byte {
	for len(text) > 0 {
		n := clean(text)
		dst, text = append(dst, text[:n]...), text[n:]
		if text == "" {
			break
		}
		r, size := utf8.DecodeRuneInString(text)
		switch high, low := utf16.EncodeRune(r); {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, `\ufffd`...)
		case printable(r):
			dst = append(dst, text[:size]...)
		case r <= 0xffff:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, high, low)
		}
		text = text[size:]
	}
	return dst
}
