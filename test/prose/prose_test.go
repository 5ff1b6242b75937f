package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFindings checks one small file of each kind.
func TestFindings(t *testing.T) {
	files := map[string]string{
		"a.go": "// Package a hears\n// of no path as it is as\n// good as gone.\npackage a\n\n" +
			"import _ \"who\"\n\nvar who = \"nobody\" // standalone\n",
		"b_test.go": "package a\n\nfunc TestNobodyIsTold() {}\n\n// " + strings.Repeat("wide ", 20) + "\n",
		"c.c":       "/* one\n * who */\nint who; // never mind\n",
		"d.md":      "who\n\n```\nwho\n```\n`who`\n",
		"Makefile":  "# who\nwho:\n\techo who\n",
	}
	want := []string{
		"Makefile:1: who", "a.go:1: hears", "a.go:2: as good as", "a.go:8: nobody", "b_test.go:3: Nobody",
		"b_test.go:3: Told", "c.c:2: who", "d.md:1: who", "b_test.go:5: 103 columns",
	}
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	report, err := check([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	report.print(&out)
	got := strings.ReplaceAll(out.String(), dir+"/", "")
	if got != strings.Join(want, "\n")+"\n" {
		t.Errorf("got\n%swant\n%s", got, strings.Join(want, "\n"))
	}
	if s := report.shares["Go"]; s.lines != 4 || s.listed != 2 {
		t.Errorf("comments of a.go: %v, want 2 of 4", s)
	}
}

// TestWrap wraps a paragraph, a list and a broken path, and leaves the rest.
func TestWrap(t *testing.T) {
	long := strings.Repeat("word ", 19)
	text := "// " + long + "ten\n// and on.\n//\n//   - " + long + "in a list\n//\tcode " + long + long + "\n//\n// See (arch/x86/\n// kernel) " + long
	want := "// " + long + "\n// ten and on.\n//\n//   - " + strings.Repeat("word ", 18) + "\n//     word in a list\n//\tcode " + long + long +
		"\n//\n// See (arch/x86/kernel) " + strings.Repeat("word ", 15) + "\n// " + strings.Repeat("word ", 4)
	got := strings.Join(wrap(strings.Split(text, "\n"), []int{0, 3, 7}, false), "\n")
	if clean := func(s string) string { return strings.ReplaceAll(s+"\n", " \n", "\n") }; clean(got) != clean(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
