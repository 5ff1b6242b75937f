package kmem

import (
	"context"
	"errors"
	"testing"
	"time"
)

// parts is a value of which a part may be missing.
type parts struct {
	read int // which read it is from
	Timeouts
}

func TestLazyReadsAgainAfterTimeouts(t *testing.T) {
	var l Lazy[parts]
	reads := 0
	get := func(missing bool, err error) (int, error) {
		v, err := l.Get(ctx, func(context.Context) (parts, error) {
			reads++
			return parts{reads, Timeouts{missing}}, err
		})
		return v.read, err
	}
	awhile := func() { l.again = l.again.Add(-2 * retryDelay) }
	broken := errors.New("broken")
	for _, step := range []struct {
		name    string
		before  func()
		missing bool
		fails   error
		want    int // which read the value is from
		reads   int
	}{
		{"it fails", func() {}, false, broken, 1, 1},
		{"a part is missing", func() {}, true, nil, 2, 2},
		{"the value is kept for a moment", func() {}, false, nil, 2, 2},
		{"a part is missing again", awhile, true, nil, 3, 3},
		{"it fails, and there is a value", awhile, false, broken, 3, 4},
		{"that value is kept as well", func() {}, false, nil, 3, 4},
		{"the value is complete", awhile, false, nil, 5, 5},
		{"a complete value is kept", func() {}, true, nil, 5, 5},
	} {
		step.before()
		got, err := get(step.missing, step.fails)
		if got != step.want && err == nil || reads != step.reads || (err != nil) != (step.name == "it fails") {
			t.Errorf("%s: that of read %d, %v, after %d reads; want %d after %d", step.name, got, err, reads, step.want, step.reads)
		}
	}
	if !l.again.IsZero() {
		t.Error("a complete value is to be read again at", l.again.Format(time.TimeOnly))
	}
}

func TestLazyWaitsNoLongerThanCtx(t *testing.T) {
	var l Lazy[int]
	begun, finish, ended := make(chan struct{}), make(chan struct{}), make(chan error, 2)
	slow := func(context.Context) (int, error) {
		close(begun)
		<-finish
		return 0, errors.New("given up")
	}
	go func() {
		_, err := l.Get(ctx, slow)
		ended <- err
	}()
	<-begun
	hurried, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := l.Get(hurried, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled caller: %v", err)
	}
	patient := make(chan int)
	go func() {
		v, err := l.Get(ctx, func(context.Context) (int, error) { return 7, nil })
		ended <- err
		patient <- v
	}()
	close(finish)
	if v := <-patient; v != 7 {
		t.Errorf("caller that waited, and read the value then: %d", v)
	}
	if first, second := <-ended, <-ended; (first == nil) == (second == nil) {
		t.Errorf("%v, %v", first, second)
	}
}

func TestLazyReturnsOldValueDuringRead(t *testing.T) {
	l := Lazy[int]{done: true, value: 1, again: time.Now().Add(-time.Second)}
	v, err := l.Get(ctx, func(context.Context) (int, error) {
		if v, err := l.Get(ctx, nil); v != 1 || err != nil {
			t.Errorf("meanwhile: %d, %v", v, err)
		}
		return 2, nil
	})
	if v != 2 || err != nil {
		t.Errorf("then: %d, %v", v, err)
	}
}

func TestLazySurvivesPanic(t *testing.T) {
	var l Lazy[int]
	func() {
		defer func() { _ = recover() }()
		_, _ = l.Get(ctx, func(context.Context) (int, error) { panic("a fault") })
	}()
	if v, err := l.Get(ctx, func(context.Context) (int, error) { return 3, nil }); v != 3 || err != nil {
		t.Errorf("%d, %v", v, err)
	}
}
