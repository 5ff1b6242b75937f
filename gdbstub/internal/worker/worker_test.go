package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"physgdb/gdbstub/internal/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// target notes that it was closed.
type target struct{ closed bool }

func (t *target) Close() error {
	t.closed = true
	return nil
}

// deadline is of each request in these tests.
const deadline = 100 * time.Millisecond

func group() *worker.Group {
	return &worker.Group{Log: hclog.NewNullLogger(), Deadline: deadline, Running: new(sync.WaitGroup)}
}

// request returns the context of one request.
func request(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, one *target) *worker.Worker[*target] {
	t.Helper()
	w, err := worker.Start(request(t), group(), func(context.Context) (*target, error) { return one, nil })
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestALateResultIsDropped(t *testing.T) {
	one := new(target)
	w := start(t, one)
	hang := make(chan struct{})
	_, err := worker.Ask(request(t), w, func(context.Context, *target) (int, error) {
		<-hang
		return 1, nil
	})
	if !worker.IsNoAnswer(err) {
		t.Errorf("late: %v", err)
	}
	if _, err := worker.Ask(request(t), w, func(context.Context, *target) (int, error) { return 2, nil }); !worker.IsNoAnswer(err) {
		t.Errorf("while the worker is busy: %v", err)
	}
	close(hang)
	n, err := worker.Ask(request(t), w, func(_ context.Context, got *target) (int, error) {
		if got != one {
			t.Error("another target")
		}
		return 3, nil
	})
	if n != 3 || err != nil {
		t.Errorf("afterwards: %d, %v", n, err)
	}
	w.Release()
	if err := w.Closed(request(t)); err != nil || !one.closed {
		t.Errorf("closed: %v, %v", one.closed, err)
	}
}

func TestACallThatRespectsItsContextIsInTime(t *testing.T) {
	w := start(t, new(target))
	defer w.Release()
	n, err := worker.Ask(request(t), w, func(ctx context.Context, _ *target) (int, error) {
		<-ctx.Done()
		return 1, nil
	})
	if n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestAPanicIsAnError(t *testing.T) {
	w := start(t, new(target))
	defer w.Release()
	_, err := worker.Ask(request(t), w, func(context.Context, *target) (int, error) { panic("for a test") })
	if err == nil || !strings.Contains(err.Error(), "for a test") {
		t.Error(err)
	}
}

func TestStartFails(t *testing.T) {
	errBroken := errors.New("broken")
	g := group()
	hang := make(chan struct{})
	for name, open := range map[string]func(context.Context) (any, error){
		"open target: broken":                 func(context.Context) (any, error) { return nil, errBroken },
		"open target: no target":              func(context.Context) (any, error) { return nil, nil },
		"open target: no answer within 100ms": func(context.Context) (any, error) { <-hang; return 1, nil },
	} {
		if _, err := worker.Start(request(t), g, open); err == nil || err.Error() != name {
			t.Errorf("%v, want %s", err, name)
		}
	}
	close(hang)
	g.Running.Wait()
}

func TestClosedReportsACallThatGoesOn(t *testing.T) {
	w := start(t, new(target))
	hang := make(chan struct{})
	_, _ = worker.Ask(request(t), w, func(context.Context, *target) (int, error) {
		<-hang
		return 0, nil
	})
	w.Release()
	if err := w.Closed(request(t)); err != worker.ErrStillRunning {
		t.Error(err)
	}
	close(hang)
	if err := w.Closed(context.Background()); err != nil {
		t.Error(err)
	}
}
