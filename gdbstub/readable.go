package gdbstub

import (
	"strings"

	"physgdb/internal/plain"
)

var xmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

// escapeXML returns text as one printable line for an attribute or an element.
func escapeXML(text string) string { return xmlEscapes.Replace(plain.Line(text)) }
