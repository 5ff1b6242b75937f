package kmem

import (
	"context"
	"sync"
	"time"
)

// Lazy is a value that is read from a dead machine when it is first needed, and then kept. A read
// that fails is tried again at the next call. A value with a part for which the memory timed out (a
// method TimedOut that returns true, see [Timeouts]) is read again after a while. The zero value is
// ready for use; it is safe for concurrent use.
type Lazy[T any] struct {
	mu    sync.Mutex // protects the fields below; held for short times only
	done  bool
	again time.Time // when the value may be read again; zero for never
	value T
	busy  chan struct{} // nil while no read is in progress; closed at its end
}

// retryDelay is how long a value is kept that lacks a part: a bridge may have been silent for a
// moment, and a page that never answers costs its timeout each time.
const retryDelay = 10 * time.Second

// Get returns the value, which read returns if there is none yet. Concurrent callers wait for the
// read in progress, or for ctx; they do not wait if there is a value.
func (l *Lazy[T]) Get(ctx context.Context, read func(context.Context) (T, error)) (T, error) {
	for {
		l.mu.Lock()
		v, busy := l.value, l.busy
		valid := l.done && (busy != nil || l.again.IsZero() || time.Now().Before(l.again))
		mine := !valid && busy == nil
		if mine {
			l.busy = make(chan struct{})
		}
		l.mu.Unlock()
		switch {
		case valid:
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

// read reads the value. No other read is in progress.
func (l *Lazy[T]) read(ctx context.Context, read func(context.Context) (T, error)) (T, error) {
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
	if p, ok := any(l.value).(interface{ TimedOut() bool }); ok && p.TimedOut() {
		l.again = time.Now().Add(retryDelay)
	}
	return l.value, nil
}

// Set sets the value without reading.
func (l *Lazy[T]) Set(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.value, l.done = v, true
}
