// Package progress shows how much of a long task is done: on a terminal, on one line that is
// overwritten, or on a debugger's console, one line each time.
package progress

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"physgdb/cmd/internal/size"
	"physgdb/internal/plain"
)

// Progress is the display of one task. It belongs to one goroutine.
type Progress struct {
	w     io.Writer // nil if nothing is shown
	what  string
	next  time.Time // no update before this time
	shown bool      // there is text on the terminal
	lines bool      // one line per update: the console cannot overwrite
}

// Console marks a writer as the console of a debugger.
type Console struct{ io.Writer }

// The delay before the first update, and between updates.
const (
	firstUpdate    = time.Second
	updateInterval = 200 * time.Millisecond
	lineInterval   = 2 * time.Second // often enough for a debugger, which gives up after some seconds of silence
)

// New returns a Progress that writes to w if that is a terminal or a [Console], and otherwise shows
// nothing. w may be nil.
func New(w io.Writer, what string) *Progress {
	if c, ok := w.(Console); ok {
		return &Progress{w: c, what: what, next: time.Now().Add(lineInterval), lines: true}
	}
	if filter, ok := w.(*plain.Writer); ok {
		w = filter.Unwrap() // the text is ours, with terminal controls
	}
	if f, ok := w.(*os.File); !ok || !isTerminal(f) {
		w = nil
	}
	return &Progress{w: w, what: what, next: time.Now().Add(firstUpdate)}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Show reports that done of total bytes are done.
func (p *Progress) Show(done, total uint64) {
	if p.due() {
		p.write(fmt.Sprintf("%s of %s", size.Text(done), size.Text(total)))
	}
}

// Reached reports the address that the task has reached, and the number of bytes that are done.
func (p *Progress) Reached(at, done uint64) {
	if p.due() {
		p.write(fmt.Sprintf("%s so far, at %#x", size.Text(done), at))
	}
}

func (p *Progress) due() bool { return p.w != nil && !time.Now().Before(p.next) }

func (p *Progress) write(text string) {
	if p.lines {
		p.next = time.Now().Add(lineInterval)
		fmt.Fprintf(p.w, "%s: %s\n", p.what, text)
		return
	}
	p.next, p.shown = time.Now().Add(updateInterval), true
	fmt.Fprintf(p.w, "\r\x1b[Kphysgdb: %s: %s", p.what, text)
}

// End removes the text from the terminal.
func (p *Progress) End() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
