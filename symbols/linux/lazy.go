package linux

import (
	"context"
	"errors"
	"sync"
	"time"

	"physgdb/bridge"
)

// lazy is something that is read of a dead machine when it is first needed, and then holds. What could not be read is
// tried again next time; what lacks a part for which memory did not answer, a while later.
type lazy[T any] struct {
	mu    sync.Mutex
	done  bool
	again time.Time // when the value may be read again; zero for never
	value T
}

// partial is a value that may lack something.
type partial interface {
	// unanswered reports whether memory did not answer for a part of it.
	unanswered() bool
}

// answers says of a value whether all reads that it took were answered, one way or the other. It makes a [partial].
type answers struct{ missing bool }

func (a answers) unanswered() bool { return a.missing }

// note takes in what became of a read.
func (a *answers) note(err error) { a.missing = a.missing || errors.Is(err, bridge.ErrTimeout) }

// include takes in whether another value, which this one is made of, lacks something.
func (a *answers) include(of answers) { a.missing = a.missing || of.missing }

// askAgain is how long a value that lacks something holds: a bridge may have been silent for a moment, and a page that never
// answers takes its timeout each time.
const askAgain = 10 * time.Second

func (l *lazy[T]) get(ctx context.Context, read func(context.Context) (T, error)) (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done && (l.again.IsZero() || time.Now().Before(l.again)) {
		return l.value, nil
	}
	v, err := read(ctx)
	switch {
	case err == nil:
		l.value, l.done, l.again = v, true, time.Time{}
	case !l.done:
		return v, err
	}
	if p, ok := any(l.value).(partial); ok && p.unanswered() {
		l.again = time.Now().Add(askAgain)
	}
	return l.value, nil
}

// set gives the value without reading anything.
func (l *lazy[T]) set(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.value, l.done = v, true
}
