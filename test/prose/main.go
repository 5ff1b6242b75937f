// Prose checks that comments, string literals and Markdown are plain technical English. It prints
// each occurrence of a listed word, and each line of comments or Markdown that is wider than 100
// columns, and exits with status 1 if there is any. With -wrap it wraps those lines.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	share := flag.Bool("share", false, "print the share of comment lines with a listed word, for each kind of file")
	words := flag.Bool("words", false, "check words only, not the width of lines")
	wrap := flag.Bool("wrap", false, "wrap paragraphs that have wide lines")
	flag.Parse()
	dirs := flag.Args()
	if len(dirs) == 0 {
		dirs = []string{"."}
	}
	report, err := check(dirs)
	if err != nil {
		fmt.Fprintln(os.Stderr, "prose:", err)
		os.Exit(2)
	}
	if *words {
		report.wide = nil
	}
	if *wrap {
		if err := report.wrapAll(); err != nil {
			fmt.Fprintln(os.Stderr, "prose:", err)
			os.Exit(2)
		}
		return
	}
	if *share {
		report.printShare(os.Stdout)
		return
	}
	if report.print(os.Stdout) > 0 {
		os.Exit(1)
	}
}

// print writes one line for each finding, "file:line: what", and returns their number.
func (r *report) print(w io.Writer) int {
	for _, f := range append(r.words, r.wide...) {
		fmt.Fprintf(w, "%s:%d: %s\n", f.path, f.line, f.what)
	}
	return len(r.words) + len(r.wide)
}

// printShare writes how many comment lines of each kind of file have a listed word.
func (r *report) printShare(w io.Writer) {
	var all share
	for _, kind := range []string{"Go", "Go tests", "other"} {
		s := r.shares[kind]
		all.lines += s.lines
		all.listed += s.listed
		fmt.Fprintf(w, "%-8s %s\n", kind, s)
	}
	fmt.Fprintf(w, "%-8s %s\n", "all", all)
}
