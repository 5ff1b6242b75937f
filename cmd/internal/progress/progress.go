package host

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"physgdb/internal/plain"
)

// progress tells on a terminal how far long work has come, on a line that is written over.
type progress struct {
	w     io.Writer // nil for silence
	what  string
	next  time.Time // not before
	shown bool      // stands on the terminal
	lines bool      // a line each time, for a console that writes over none
}

// console is where a debugger's user reads how far long work is.
type console struct{ io.Writer }

// When progress is first shown, and how often then.
const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
	linesEvery    = 2 * time.Second // often enough for a debugger, which gives up after some seconds of silence
)

// newProgress makes a progress that is silent unless w is a terminal, or the console of a debugger.
func newProgress(w io.Writer, what string) *progress {
	if c, ok := w.(console); ok {
		return &progress{w: c, what: what, next: time.Now().Add(linesEvery), lines: true}
	}
	if filter, ok := w.(*plain.Writer); ok {
		w = filter.Unwrap() // what is shown here is ours, with terminal controls
	}
	if f, ok := w.(*os.File); !ok || !isTerminal(f) {
		w = nil
	}
	return &progress{w: w, what: what, next: time.Now().Add(progressAfter)}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// show says that so much of so much is done, in bytes.
func (p *progress) show(done, total uint64) {
	if p.due() {
		p.say(fmt.Sprintf("%s of %s", sizeText(done), sizeText(total)))
	}
}

// reached says up to which address work is done, and how many bytes that were.
func (p *progress) reached(at, done uint64) {
	if p.due() {
		p.say(fmt.Sprintf("%s so far, at %#x", sizeText(done), at))
	}
}

func (p *progress) due() bool { return p.w != nil && !time.Now().Before(p.next) }

func (p *progress) say(text string) {
	if p.lines {
		p.next = time.Now().Add(linesEvery)
		fmt.Fprintf(p.w, "%s: %s\n", p.what, text)
		return
	}
	p.next, p.shown = time.Now().Add(progressEvery), true
	fmt.Fprintf(p.w, "\r\x1b[Kphysgdb: %s: %s", p.what, text)
}

// end removes what was shown.
func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
