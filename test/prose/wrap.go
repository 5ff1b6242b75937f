package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// wrapAll rewrites the files of a report with wide lines, so that their paragraphs fit.
func (r *report) wrapAll() error {
	wide := map[string][]int{}
	for _, f := range r.wide {
		wide[f.path] = append(wide[f.path], f.line-1)
	}
	for path, at := range wide {
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines := wrap(strings.Split(string(src), "\n"), at, filepath.Ext(path) == ".md")
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o666); err != nil {
			return err
		}
	}
	return nil
}

// wrap wraps the paragraphs that the lines numbered wide are in.
func wrap(lines []string, wide []int, markdown bool) []string {
	var out []string
	for i := 0; i < len(lines); {
		first, rest, ok := prefixes(lines[i], markdown)
		end := i + 1
		for ok && end < len(lines) && continues(lines[end], rest, markdown) {
			end++
		}
		if ok && slices.ContainsFunc(wide, func(n int) bool { return i <= n && n < end }) {
			out = append(out, fill(lines[i:end], first, rest)...)
		} else {
			out = append(out, lines[i:end]...)
		}
		i = end
	}
	return out
}

var (
	marker = regexp.MustCompile(`^[ \t]*(?://|#|/?\*)(?: |$)`)
	bullet = regexp.MustCompile(`^ *(?:[-*+]|\d+\.) +`)
)

// prefixes returns what the first line of a paragraph, and each further line of it, begins with.
func prefixes(line string, markdown bool) (first, rest string, ok bool) {
	comment := ""
	if !markdown {
		comment = marker.FindString(line)
		rest = strings.Replace(comment, "/*", " *", 1)
		if comment == "" {
			return "", "", false
		}
	}
	text := line[len(comment):]
	item := bullet.FindString(text)
	first, rest = comment+item, rest+strings.Repeat(" ", len(item))
	text = text[len(item):]
	return first, rest, text != "" && !strings.ContainsAny(text[:1], " \t|#><") && !strings.HasPrefix(text, "```")
}

// continues reports whether a line goes on with the paragraph whose further lines begin with prefix.
func continues(line, prefix string, markdown bool) bool {
	text, ok := strings.CutPrefix(line, prefix)
	if !ok || text == "" || bullet.MatchString(text) || strings.HasPrefix(text, "*/") {
		return false
	}
	return !strings.ContainsAny(text[:1], " \t") && !(markdown && strings.ContainsAny(text[:1], "|#><")) && !strings.HasPrefix(text, "```")
}

// fill breaks a paragraph into lines of at most maxColumns.
func fill(lines []string, first, rest string) []string {
	words := wordsOf(lines, first, rest)
	out, line := []string(nil), first+words[0]
	for _, word := range words[1:] {
		if columns(line)+1+columns(word) > maxColumns && !bullet.MatchString(word+" ") {
			out, line = append(out, line), rest+word
			continue
		}
		line += " " + word
	}
	return append(out, line)
}

// wordsOf returns the words of a paragraph. A path that was broken after a slash becomes one word.
func wordsOf(lines []string, first, rest string) []string {
	var words []string
	prefix := first
	for _, line := range lines {
		more := strings.Fields(line[len(prefix):])
		if n := len(words); n > 0 && len(words[n-1]) > 1 && strings.HasSuffix(words[n-1], "/") {
			words[n-1] += more[0]
			more = more[1:]
		}
		words = append(words, more...)
		prefix = rest
	}
	return words
}
