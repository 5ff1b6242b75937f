package plain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// WriteJSON writes a value as JSON on one line. Characters of strings that are not printable are
// escaped, as \u202e, and bytes that are no UTF-8 are \ufffd. People search such lines, and see < >
// & as they are.
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

// appendJSON appends JSON that is valid already to dst. What is not printable can only be part of a
// string there.
func appendJSON(dst []byte, text string) []byte { return appendEscaped(dst, text, escapeJSON) }

// escapeJSON appends the escape of a character for JSON; see appendEscaped.
func escapeJSON(dst []byte, r rune, _ byte, _ bool) []byte {
	switch high, low := utf16.EncodeRune(r); {
	case r == utf8.RuneError:
		return append(dst, `\ufffd`...)
	case r <= 0xffff:
		return fmt.Appendf(dst, `\u%04x`, r)
	default:
		return fmt.Appendf(dst, `\u%04x\u%04x`, high, low)
	}
}
