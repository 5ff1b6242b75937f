package gdbstub

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The names and texts of a dead machine may hold any bytes. These functions make them fit to be shown.

// readable puts a question mark in place of whatever people cannot read: bytes that are no UTF-8, and characters
// that control the terminal. U+FFFD would be shown as rubbish by a gdb in the C locale.
func readable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

var xmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

// escapeXML makes text readable and fit for an attribute or an element. Text that is both already, as most names are,
// costs no allocation.
func escapeXML(text string) string { return xmlEscapes.Replace(readable(text)) }
