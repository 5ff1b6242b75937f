package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A finding is one place in a file that the check objects to.
type finding struct {
	path string
	line int
	what string
}

// A share counts comment lines and those of them that have a listed word.
type share struct{ lines, listed int }

func (s share) String() string {
	return fmt.Sprintf("%5d of %6d comment lines, %.2f %%", s.listed, s.lines, 100*float64(s.listed)/float64(max(s.lines, 1)))
}

type report struct {
	words, wide []finding
	shares      map[string]share // by kind of file
}

// A passage is a part of a file that people read: a comment, a string literal or a line of text.
type passage struct {
	line    int // of its first line
	text    string
	comment bool
}

// check reads every file of dirs that has prose.
func check(dirs []string) (*report, error) {
	r := &report{shares: map[string]share{}}
	for _, dir := range dirs {
		err := filepath.WalkDir(strings.TrimSuffix(dir, "/..."), func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && skipped(entry.Name()):
				return filepath.SkipDir
			case entry.IsDir():
				return nil
			}
			return r.file(path)
		})
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

// skipped reports whether a directory has no prose of ours: data of tests, build results, the version control's files and
// the list of words itself.
func skipped(name string) bool {
	return slices.Contains([]string{"testdata", "bin", ".git", "prose"}, name)
}

// file checks one file, if it is of a kind that has prose.
func (r *report) file(path string) error {
	split := splitter(path)
	if split == nil {
		return nil
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	passages, err := split(path, src)
	if err != nil {
		return err
	}
	kind := kindOf(path)
	for _, p := range passages {
		r.passage(path, kind, p)
	}
	r.width(path, src, passages)
	return nil
}

func kindOf(path string) string {
	switch {
	case strings.HasSuffix(path, "_test.go"):
		return "Go tests"
	case strings.HasSuffix(path, ".go"):
		return "Go"
	}
	return "other"
}

// passage adds the listed words of p to the report.
func (r *report) passage(path, kind string, p passage) {
	lines := map[int]bool{}
	for _, at := range listed(p.text) {
		line := p.line + strings.Count(p.text[:at[0]], "\n")
		lines[line] = true
		r.words = append(r.words, finding{path, line, strings.Join(strings.Fields(p.text[at[0]:at[1]]), " ")})
	}
	if p.comment {
		s := r.shares[kind]
		s.lines += 1 + strings.Count(p.text, "\n")
		s.listed += len(lines)
		r.shares[kind] = s
	}
}
