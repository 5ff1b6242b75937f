package host

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// progress tells on a terminal how far long work has come, on a line that is written over.
type progress struct {
	w     io.Writer // nil for silence
	what  string
	next  time.Time // not before
	shown bool
}

// When progress is first shown, and how often then.
const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
)

// newProgress makes a progress that is silent unless w is a terminal.
func newProgress(w io.Writer, what string) *progress {
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
	if p.w == nil || time.Now().Before(p.next) {
		return
	}
	p.next, p.shown = time.Now().Add(progressEvery), true
	fmt.Fprintf(p.w, "\r\x1b[Kphysgdb: %s: %s of %s", p.what, sizeText(done), sizeText(total))
}

// end removes what was shown.
func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
