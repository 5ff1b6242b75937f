// Package plain makes text that a target machine, the network or another user wrote safe to show,
// to encode as JSON and to name files with. Such text may hold anything: terminal escapes,
// bidirectional controls, bytes that are no UTF-8.
package plain

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// flatten makes one line of several.
var flatten = strings.NewReplacer("\n", " ", "\t", " ")

// Line returns text for one line of output: newlines and tabs become spaces, space at both ends is
// cut, and what is not printable is escaped as by [Text].
func Line(text string) string { return strings.TrimSpace(Text(flatten.Replace(text))) }

// Text returns text that shows what it holds and does nothing else to a terminal. Newlines and tabs
// stay. Other characters that are not printable are escaped as in a Go string: \x1b for a byte that
// is an ASCII control or no UTF-8, \u202e or \U000e0001 for the rest. Private and unassigned
// characters are not printable, and neither are invisible ones.
func Text(text string) string {
	if clean(text) == len(text) {
		return text
	}
	return string(appendText(make([]byte, 0, len(text)+16), text))
}

// appendText appends text to dst as Text returns it.
func appendText(dst []byte, text string) []byte { return appendEscaped(dst, text, escapeText) }

// escapeText appends the escape of a character for text; see appendEscaped.
func escapeText(dst []byte, r rune, first byte, isByte bool) []byte {
	switch {
	case isByte:
		return fmt.Appendf(dst, `\x%02x`, first)
	case r <= 0xffff:
		return fmt.Appendf(dst, `\u%04x`, r)
	}
	return fmt.Appendf(dst, `\U%08x`, r)
}

// clean returns how many bytes at the start of text are printable ASCII, newlines or tabs.
func clean[T string | []byte](text T) int {
	for i := range len(text) {
		if c := text[i]; (c < ' ' && c != '\n' && c != '\t') || c > '~' {
			return i
		}
	}
	return len(text)
}

// appendEscaped appends text to dst, and in place of each character that is not printable what
// escape appends. isByte says that the character is an ASCII control, or that its first byte is
// part of no character.
func appendEscaped(dst []byte, text string, escape func(dst []byte, r rune, first byte, isByte bool) []byte) []byte {
	for len(text) > 0 {
		n := clean(text)
		dst, text = append(dst, text[:n]...), text[n:]
		if text == "" {
			break
		}
		r, size := utf8.DecodeRuneInString(text)
		if isByte := size == 1; !isByte && printable(r) {
			dst = append(dst, text[:size]...)
		} else {
			dst = escape(dst, r, text[0], isByte)
		}
		text = text[size:]
	}
	return dst
}

// printable reports whether a character can be seen and has no other effect. Go's own table leaves
// out controls, formats such as bidirectional ones, separators, private and unassigned characters;
// some letters are invisible, too.
func printable(r rune) bool {
	return unicode.IsPrint(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}
