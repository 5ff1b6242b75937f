package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// The widest line of a comment or of Markdown.
const maxColumns = 100

// width adds the comment lines and lines of Markdown that are wider than maxColumns. Tables, links, code and the comment at the end
// of a line of code may be wider.
func (r *report) width(path string, src []byte, passages []passage) {
	lines := strings.Split(string(src), "\n")
	for _, p := range passages {
		if !p.comment {
			continue
		}
		for i, text := range strings.Split(p.text, "\n") {
			line := lines[p.line-1+i]
			if n := columns(line); n > maxColumns && isProse(path, line, text) {
				r.wide = append(r.wide, finding{path, p.line + i, fmt.Sprintf("%d columns", n)})
			}
		}
	}
}

// columns returns the width of a line, with a tab as four columns.
func columns(line string) int {
	return utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    "))
}

// isProse reports whether a line is text that can be wrapped; text is the passage's part of it.
func isProse(path, line, text string) bool {
	line = strings.TrimSpace(line)
	if strings.Contains(line, "://") || strings.HasPrefix(line, "//go:") || strings.HasPrefix(line, "//\t") {
		return false
	}
	if filepath.Ext(path) == ".md" {
		return text != "" && !strings.HasPrefix(line, "|")
	}
	return strings.HasPrefix(line, "//") || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "*") || strings.HasPrefix(line, "/*")
}
