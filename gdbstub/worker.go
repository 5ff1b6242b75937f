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

// worker is the goroutine that owns a Target: it opens it, makes every call and closes it. A call that does not end
// in time keeps only the worker, not the connection; one that panics fails, and that is all.
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

// startWorker opens a Target and reports what it can do. If that fails, or takes longer than deadline, it returns an
// error; the worker has then ended or will end as soon as open returns. The worker counts in running until it ends.
func startWorker(ctx context.Context, log hclog.Logger, open Opener, deadline time.Duration, running *sync.WaitGroup) (
	*worker, abilities, error) {
	w := &worker{log: log, deadline: deadline, jobs: make(chan func(Target)), done: make(chan error, 1), running: running}
	openCtx, cancel := context.WithTimeout(ctx, softDeadline(deadline))
	defer cancel()
	opened := make(chan outcome[abilities], 1)
	running.Go(func() { w.run(openCtx, open, opened) })

	timer := time.NewTimer(deadline)
	defer timer.Stop()
	var err error
	select {
	case o := <-opened:
		if err = o.err; err == nil {
			return w, o.value, nil
		}
	case <-timer.C:
		err = noAnswer{deadline}
	case <-ctx.Done():
		err = ctx.Err()
	}
	close(w.jobs)
	return nil, abilities{}, fmt.Errorf("open target: %w", err)
}

// run is the worker's goroutine. It ends when jobs is closed and the call at hand has returned.
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

// contained makes the panic of a call its error, and logs where it was: a fault that the memory of one machine brings to
// light shall not end the sessions of all who look at it.
func contained[T any](w *worker, call func() (T, error)) (value T, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			w.log.Error("a fault of this program; please report it", "fault", fault, "stack", hclog.Stacktrace())
			err = fmt.Errorf("a fault of the stub, which has logged it: %v", fault)
		}
	}()
	return call()
}

// release lets the worker close the Target as soon as no call is running. Nobody may ask any more.
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

// ask makes the worker call the Target and returns the result if it comes within the deadline.
//
// call must not touch what belongs to the connection: it may still be running when ask has returned. That is why
// its result travels in a channel, where a late one is forgotten.
func ask[T any](ctx context.Context, w *worker, call func(context.Context, Target) (T, error)) (T, error) {
	var none T
	callCtx, cancel := context.WithDeadline(ctx, w.softDeadline(ctx))
	defer cancel()
	timer := time.NewTimer(w.deadline)
	defer timer.Stop()

	result, err := submit(ctx, w, callCtx, timer.C, call)
	if err != nil {
		return none, err
	}
	select {
	case o := <-result:
		return o.value, o.err
	case <-timer.C:
		return none, noAnswer{w.deadline}
	case <-ctx.Done():
		return none, w.unanswered(ctx)
	}
}

// submit makes the worker call the Target with callCtx and returns where the result will come. It fails if ctx is done, or
// if the worker is still at an earlier call when late comes.
func submit[T any](ctx context.Context, w *worker, callCtx context.Context, late <-chan time.Time,
	call func(context.Context, Target) (T, error)) (<-chan outcome[T], error) {
	result := make(chan outcome[T], 1)
	job := func(target Target) {
		value, err := contained(w, func() (T, error) { return call(callCtx, target) })
		result <- outcome[T]{value, err}
	}
	select {
	case w.jobs <- job:
		return result, nil
	case <-late:
		return nil, noAnswer{w.deadline}
	case <-ctx.Done():
		return nil, w.unanswered(ctx)
	}
}

// unanswered says why nobody waits any more: the request's deadline has passed or the session is over.
func (w *worker) unanswered(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return noAnswer{w.deadline}
	}
	return ctx.Err()
}

// softDeadline is when a call of the request of ctx should end by itself.
func (w *worker) softDeadline(ctx context.Context) time.Time {
	hard, limited := ctx.Deadline()
	if !limited {
		return time.Now().Add(softDeadline(w.deadline))
	}
	return hard.Add(softDeadline(w.deadline) - w.deadline)
}

// softDeadline is when a call should end by itself. It lies a little before the deadline, so that a call which
// minds its ctx can still hand over what it has, such as the first part of a memory read.
func softDeadline(deadline time.Duration) time.Duration { return deadline * 7 / 8 }
