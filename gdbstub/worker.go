package gdbstub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Opener makes the Target of one connection.
type Opener func(ctx context.Context) (Target, error)

// worker is the goroutine that owns a Target: it opens it, makes every call and closes it. A call
// that does not end in time keeps only the worker, not the connection; one that panics fails, and
// that is all.
type worker struct {
	log      hclog.Logger
	deadline time.Duration
	jobs     chan func(Target)
	done     chan error      // receives the result of closing, then is closed
	running  *sync.WaitGroup // of all workers of one connection
}

// noAnswer is the error of a request whose deadline has passed.
type noAnswer struct{ after time.Duration }

// Error says how long was waited, as in "no answer within 4s".
func (e noAnswer) Error() string { return fmt.Sprintf("no answer within %v", e.after) }

// errNoTarget guards against an Opener that returns nothing.
var errNoTarget = errors.New("no target")

// errStillRunning says that a Target is not closed yet. It will be when the call returns.
var errStillRunning = errors.New("close target: a call is still running")

// startWorker opens a Target and returns its abilities. ctx carries the deadline of the request
// that wants it; deadline is how long each request may take. On failure the worker has ended, or
// ends as soon as open returns. The worker counts in running until it ends.
func startWorker(ctx context.Context, log hclog.Logger, open Opener, deadline time.Duration, running *sync.WaitGroup) (
	*worker, abilities, error) {
	w := &worker{log: log, deadline: deadline, jobs: make(chan func(Target)), done: make(chan error, 1), running: running}
	openCtx, cancel := w.callContext(ctx)
	defer cancel()
	opened := make(chan outcome[abilities], 1)
	running.Go(func() { w.run(openCtx, open, opened) })

	var err error
	select {
	case o := <-opened:
		if err = o.err; err == nil {
			return w, o.value, nil
		}
	case <-ctx.Done():
		err = w.unanswered(ctx)
	}
	close(w.jobs)
	return nil, abilities{}, fmt.Errorf("open target: %w", err)
}

// run is the worker's goroutine. It ends when jobs is closed and the present call has returned.
func (w *worker) run(ctx context.Context, open Opener, opened chan<- outcome[abilities]) {
	defer close(w.done)
	target, err := contained(w, func() (Target, error) { return open(ctx) })
	if err == nil && target == nil {
		err = errNoTarget
	}
	if err != nil {
		opened <- outcome[abilities]{err: err}
		return
	}
	can, err := contained(w, func() (abilities, error) { return abilitiesOf(target), nil })
	opened <- outcome[abilities]{can, err}
	for job := range w.jobs {
		job(target)
	}
	_, err = contained(w, func() (struct{}, error) { return struct{}{}, closeTarget(target) })
	w.done <- err
}

// contained turns the panic of a call into its error, and logs the stack: a fault triggered by the
// memory of one machine must not end all sessions.
func contained[T any](w *worker, call func() (T, error)) (value T, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			w.log.Error("a fault of this program; please report it", "fault", fault, "stack", hclog.Stacktrace())
			err = fmt.Errorf("a fault of the stub, which has logged it: %v", fault)
		}
	}()
	return call()
}

// release lets the worker close the Target as soon as no call is running. ask must not be called
// after it.
func (w *worker) release() { close(w.jobs) }

// closed waits until the Target of a released worker is closed, but not longer than ctx.
func (w *worker) closed(ctx context.Context) error {
	select {
	case err := <-w.done:
		return closeError(err)
	default:
	}
	select {
	case err := <-w.done:
		return closeError(err)
	case <-ctx.Done():
		return errStillRunning
	}
}

func closeError(err error) error {
	if err != nil {
		return fmt.Errorf("close target: %w", err)
	}
	return nil
}

// closeTarget closes a Target if it wants to be.
func closeTarget(target Target) error {
	if c, ok := target.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// outcome is what a call returned.
type outcome[T any] struct {
	value T
	err   error
}

// ask makes the worker call the Target and returns the result, unless the deadline of ctx, which is
// that of the request, passes first.
//
// call must not touch what belongs to the connection: it may still be running when ask has
// returned. That is why its result travels in a channel, where a late one is dropped.
func ask[T any](ctx context.Context, w *worker, call func(context.Context, Target) (T, error)) (T, error) {
	var none T
	callCtx, cancel := w.callContext(ctx)
	defer cancel()
	result, err := submit(ctx, w, callCtx, call)
	if err != nil {
		return none, err
	}
	select {
	case o := <-result:
		return o.value, o.err
	case <-ctx.Done():
		return none, w.unanswered(ctx)
	}
}

// submit makes the worker call the Target with callCtx and returns the channel for the result. It
// fails if ctx is done while the worker still executes an earlier call.
func submit[T any](ctx context.Context, w *worker, callCtx context.Context, call func(context.Context, Target) (T, error)) (
	<-chan outcome[T], error) {
	result := make(chan outcome[T], 1)
	job := func(target Target) {
		value, err := contained(w, func() (T, error) { return call(callCtx, target) })
		result <- outcome[T]{value, err}
	}
	select {
	case w.jobs <- job:
		return result, nil
	case <-ctx.Done():
		return nil, w.unanswered(ctx)
	}
}

// unanswered returns why a request got no answer: its deadline has passed or the session is over.
func (w *worker) unanswered(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return noAnswer{w.deadline}
	}
	return ctx.Err()
}

// callContext returns the context of a call for the request of ctx. It is done a little before the
// request's deadline, so that a call that respects its context can still return what it has, such
// as the first part of a memory read.
func (w *worker) callContext(ctx context.Context) (context.Context, context.CancelFunc) {
	hard, limited := ctx.Deadline()
	if !limited {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, hard.Add(softDeadline(w.deadline)-w.deadline))
}

// softDeadline is how long a call may take of the time that a request may take.
func softDeadline(deadline time.Duration) time.Duration { return deadline * 7 / 8 }
