// Package worker calls a value that may fail, hang or panic, from one goroutine that owns it. Each
// request for a call has a deadline: it is answered in time, and the result of a late call is
// dropped.
package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Group is the workers of one connection.
type Group struct {
	Log      hclog.Logger
	Deadline time.Duration   // of a request
	Running  *sync.WaitGroup // counts the workers that have not ended
}

// Worker is the goroutine that owns a target: it opens it, makes every call and closes it. A call
// that does not end in time keeps only the worker, not the connection; one that panics fails, and
// that is all.
type Worker[T any] struct {
	group *Group
	jobs  chan func(T)
	done  chan error // receives the result of closing, then is closed
}

// NoAnswer is the error of a request whose deadline has passed.
type NoAnswer struct{ After time.Duration }

// Error says how long was waited, as in "no answer within 4s".
func (e NoAnswer) Error() string { return fmt.Sprintf("no answer within %v", e.After) }

// IsNoAnswer reports whether err is a [NoAnswer]: the call was left running.
func IsNoAnswer(err error) bool {
	var late NoAnswer
	return errors.As(err, &late)
}

// errNoTarget guards against an open function that returns nothing.
var errNoTarget = errors.New("no target")

// ErrStillRunning says that a target is not closed yet. It will be when the call returns.
var ErrStillRunning = errors.New("close target: a call is still running")

// Start opens a target. ctx carries the deadline of the request that wants it. On failure the
// worker has ended, or ends as soon as open returns. A target that is an io.Closer is closed in the
// end.
func Start[T any](ctx context.Context, g *Group, open func(context.Context) (T, error)) (*Worker[T], error) {
	w := &Worker[T]{group: g, jobs: make(chan func(T)), done: make(chan error, 1)}
	openCtx, cancel := w.callContext(ctx)
	defer cancel()
	opened := make(chan error, 1)
	g.Running.Go(func() { w.run(openCtx, open, opened) })

	var err error
	select {
	case err = <-opened:
		if err == nil {
			return w, nil
		}
	case <-ctx.Done():
		err = w.unanswered(ctx)
	}
	close(w.jobs)
	return nil, fmt.Errorf("open target: %w", err)
}

// run is the worker's goroutine. It ends when jobs is closed and the present call has returned.
func (w *Worker[T]) run(ctx context.Context, open func(context.Context) (T, error), opened chan<- error) {
	defer close(w.done)
	target, err := contained(w.group.Log, func() (T, error) { return open(ctx) })
	if err == nil && any(target) == nil {
		err = errNoTarget
	}
	opened <- err
	if err != nil {
		return
	}
	for job := range w.jobs {
		job(target)
	}
	_, err = contained(w.group.Log, func() (struct{}, error) { return struct{}{}, Close(target) })
	w.done <- err
}

// contained turns the panic of a call into its error, and logs the stack: a fault triggered by the
// memory of one machine must not end all sessions.
func contained[R any](log hclog.Logger, call func() (R, error)) (value R, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			log.Error("internal error; please report it", "fault", fault, "stack", hclog.Stacktrace())
			err = fmt.Errorf("internal error of the stub (see its log): %v", fault)
		}
	}()
	return call()
}

// Release lets the worker close the target as soon as no call is running. Nothing may be called
// after it but Closed.
func (w *Worker[T]) Release() { close(w.jobs) }

// Closed waits until the target of a released worker is closed, but not longer than ctx. The error
// is ErrStillRunning if it is not closed yet.
func (w *Worker[T]) Closed(ctx context.Context) error {
	select {
	case err := <-w.done:
		return closeError(err)
	default:
	}
	select {
	case err := <-w.done:
		return closeError(err)
	case <-ctx.Done():
		return ErrStillRunning
	}
}

func closeError(err error) error {
	if err != nil {
		return fmt.Errorf("close target: %w", err)
	}
	return nil
}

// Close closes a value if it is an io.Closer.
func Close(value any) error {
	if c, ok := value.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Outcome is what a call returned.
type Outcome[R any] struct {
	Value R
	Err   error
}

// Ask makes the worker call the target and returns the result, unless the deadline of ctx, which is
// that of the request, passes first.
//
// call must not touch what belongs to the connection: it may still be running when Ask has
// returned. That is why its result travels in a channel, where a late one is dropped.
func Ask[T, R any](ctx context.Context, w *Worker[T], call func(context.Context, T) (R, error)) (R, error) {
	var none R
	callCtx, cancel := w.callContext(ctx)
	defer cancel()
	result, err := Submit(ctx, w, callCtx, call)
	if err != nil {
		return none, err
	}
	select {
	case o := <-result:
		return o.Value, o.Err
	case <-ctx.Done():
		return none, w.unanswered(ctx)
	}
}

// Submit makes the worker call the target with callCtx and returns the channel for the result. It
// fails if ctx is done while the worker still executes an earlier call.
func Submit[T, R any](ctx context.Context, w *Worker[T], callCtx context.Context, call func(context.Context, T) (R, error)) (
	<-chan Outcome[R], error) {
	result := make(chan Outcome[R], 1)
	job := func(target T) {
		value, err := contained(w.group.Log, func() (R, error) { return call(callCtx, target) })
		result <- Outcome[R]{value, err}
	}
	select {
	case w.jobs <- job:
		return result, nil
	case <-ctx.Done():
		return nil, w.unanswered(ctx)
	}
}

// unanswered returns why a request got no answer: its deadline has passed or the session is over.
func (w *Worker[T]) unanswered(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return NoAnswer{After: w.group.Deadline}
	}
	return ctx.Err()
}

// callContext returns the context of a call for the request of ctx. It is done a little before the
// request's deadline, so that a call that respects its context can still return what it has, such
// as the first part of a memory read.
func (w *Worker[T]) callContext(ctx context.Context) (context.Context, context.CancelFunc) {
	hard, limited := ctx.Deadline()
	if !limited {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, hard.Add(SoftDeadline(w.group.Deadline)-w.group.Deadline))
}

// SoftDeadline is how long a call may take of the time that a request may take.
func SoftDeadline(deadline time.Duration) time.Duration { return deadline * 7 / 8 }
