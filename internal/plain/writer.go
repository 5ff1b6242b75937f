package plain

import (
	"io"
	"sync"
	"unicode/utf8"
)

// Writer passes on what is written to it as [Text], or as JSON whose strings are escaped as by
// [WriteJSON]. It is for the place where all output comes by, so that no renderer can forget. It is
// safe for concurrent use.
type Writer struct {
	w      io.Writer
	escape func(dst []byte, text string) []byte

	mu   sync.Mutex
	tail []byte // start of a character whose other bytes are yet to come
	buf  []byte // reused
}

// NewWriter returns a Writer of text.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w, escape: appendText} }

// NewJSONWriter returns a Writer of JSON.
func NewJSONWriter(w io.Writer) *Writer { return &Writer{w: w, escape: appendJSON} }

// Unwrap returns the writer below, which takes terminal controls.
func (w *Writer) Unwrap() io.Writer { return w.w }

// Write writes p escaped. A character that is cut at the end of p is kept for the next call, or for
// Flush.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.tail) == 0 && clean(p) == len(p) {
		return w.w.Write(p)
	}
	text := string(w.tail) + string(p)
	whole := len(text) - cut(text)
	w.tail = append(w.tail[:0], text[whole:]...)
	return len(p), w.put(text[:whole])
}

// Flush writes what is left of a character that never became whole.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := string(w.tail)
	w.tail = w.tail[:0]
	return w.put(rest)
}

func (w *Writer) put(text string) error {
	if text == "" {
		return nil
	}
	w.buf = w.escape(w.buf[:0], text)
	_, err := w.w.Write(w.buf)
	return err
}

// cut returns how many bytes at the end of text begin a character and do not end it.
func cut(text string) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if end := text[len(text)-n:]; utf8.RuneStart(end[0]) {
			if utf8.FullRuneInString(end) {
				return 0
			}
			return n
		}
	}
	return 0
}
