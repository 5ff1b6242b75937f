package linux

import (
	"context"
	"sync"
)

// lazy is something that is read of a dead machine when it is first needed, and then holds. What could not be read is
// tried again next time.
type lazy[T any] struct {
	mu    sync.Mutex
	done  bool
	value T
}

func (l *lazy[T]) get(ctx context.Context, read func(context.Context) (T, error)) (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return l.value, nil
	}
	v, err := read(ctx)
	if err == nil {
		l.value, l.done = v, true
	}
	return v, err
}

// set gives the value without reading anything.
func (l *lazy[T]) set(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.value, l.done = v, true
}
