package linux

import (
	"context"
	"errors"
	"sync"
	"time"

	"physgdb/bridge"
)

// lazy is something that is read of a dead machine when it is first needed, and then holds. What could not be read is
// tried again next time; what lacks a part for which memory did not answer, a while later. Those who ask while one reads it
// wait for him no longer than their ctx, and not at all if there is a value.
type lazy[T any] struct {
	mu    sync.Mutex // protects what follows; nobody holds it for long
	done  bool
	again time.Time // when the value may be read again; zero for never
	value T
	busy  chan struct{} // nil while nobody reads it; closed when he has
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
	for {
		l.mu.Lock()
		v, busy := l.value, l.busy
		holds := l.done && (busy != nil || l.again.IsZero() || time.Now().Before(l.again))
		mine := !holds && busy == nil
		if mine {
			l.busy = make(chan struct{})
		}
		l.mu.Unlock()
		switch {
		case holds:
			return v, nil
		case mine:
			return l.read(ctx, read)
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
}

// read reads the value, which nobody else does meanwhile.
func (l *lazy[T]) read(ctx context.Context, read func(context.Context) (T, error)) (T, error) {
	defer func() { // also after a panic
		l.mu.Lock()
		defer l.mu.Unlock()
		close(l.busy)
		l.busy = nil
	}()
	v, err := read(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
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
