package plain

import "strings"

var xmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

// XML returns text as one printable line for an attribute or an element.
func XML(text string) string { return xmlEscapes.Replace(Line(text)) }
