package gdbstub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"physgdb/gdbstub/internal/worker"
	"physgdb/gdbstub/rsp"
	"physgdb/internal/plain"
)

// runMonitor answers qRcmd,<line in hex>: the output as console text, then OK, or the rest of it.
// An error is shown as text, too, since gdb makes nothing but "Protocol error with Rcmd" of an
// error code.
func (s *session) runMonitor(ctx context.Context, args []byte) reply {
	monitor := s.selected.can.monitor
	if monitor == nil {
		return unsupported()
	}
	line, err := rsp.AppendUnhex(nil, bytes.TrimPrefix(args, []byte(",")))
	if err != nil {
		return text(codeRefused)
	}
	callCtx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	run := &monitorRun{s: s, output: newConsole(), heartbeat: s.newHeartbeat(), ctx: callCtx, stop: stop}
	submitCtx, cancel := context.WithTimeout(ctx, s.opt.Deadline)
	defer cancel()
	run.result, err = worker.Submit(submitCtx, s.selected.worker, callCtx, func(ctx context.Context, _ Target) (struct{}, error) {
		output := plain.NewWriter(run.output)
		err := monitor.Monitor(ctx, output, string(line))
		return struct{}{}, errors.Join(err, output.Flush())
	})
	if err != nil {
		return run.finish(ctx, err)
	}
	return run.follow(ctx)
}

// Why a monitor command was stopped.
var (
	errAbandoned   = errors.New("the client no longer waits")
	errInterrupted = errors.New("interrupted")
)

// monitorRun is a monitor command in progress. The goroutine of its session owns it.
type monitorRun struct {
	s         *session
	result    <-chan worker.Outcome[struct{}]
	output    *console
	heartbeat heartbeat
	ctx       context.Context // of the command
	stop      context.CancelCauseFunc
}

// follow shows the output of a command until it ends, and returns its reply. The deadline counts
// from the last output on.
func (r *monitorRun) follow(ctx context.Context) reply {
	deadline := r.s.opt.Deadline
	soft, hard := time.NewTimer(worker.SoftDeadline(deadline)), time.NewTimer(deadline)
	defer soft.Stop()
	defer hard.Stop()
	show := time.NewTicker(showInterval)
	defer show.Stop()
	for {
		var err error
		select {
		case <-r.output.grown:
			soft.Reset(worker.SoftDeadline(deadline))
			hard.Reset(deadline)
		case <-soft.C:
			if r.output.hasGrown() { // while this goroutine did not run
				continue
			}
			r.stop(fmt.Errorf("no output for %v", worker.SoftDeadline(deadline)))
		case <-hard.C:
			if r.output.hasGrown() {
				continue
			}
			return r.finish(ctx, worker.NoAnswer{After: deadline})
		case o := <-r.result:
			return r.finish(ctx, r.reason(o.Err))
		case <-show.C:
			if r.heartbeat.mayShow() {
				err = r.show()
			}
		case e := <-r.s.input.next():
			err = r.handle(e)
		case <-ctx.Done():
			return r.abandon()
		}
		if err != nil {
			return r.abandon()
		}
	}
}

// reason returns why a command failed: if it was stopped, why it was.
func (r *monitorRun) reason(err error) error {
	if err != nil && errors.Is(err, context.Canceled) && r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	return err
}

// show sends what the command has put out since the last time.
func (r *monitorRun) show() error {
	text := r.output.take()
	if len(text) == 0 {
		return nil
	}
	r.heartbeat.sent()
	if r.heartbeat.expected {
		return r.s.printOnce(text)
	}
	return r.s.print(text)
}

// handle handles what the client sent meanwhile. It returns an error if the client no longer waits.
func (r *monitorRun) handle(e event) error {
	s := r.s
	if e.err != nil || e.kind == rsp.Packet {
		s.input.putBack(e) // the next request, or the end of the connection, is for run to handle
		return errAbandoned
	}
	s.input.taken()
	switch e.kind {
	case rsp.Interrupt:
		r.stop(errInterrupted)
	case rsp.Nak:
		r.heartbeat.beat()
	}
	_, err := s.wire.Settle(e.kind)
	return err
}

// abandon ends a command whose client no longer waits. It gets no reply: the client would take it
// for the answer to its next request.
func (r *monitorRun) abandon() reply {
	r.stop(errAbandoned)
	r.output.seal()
	return silence()
}

// finish ends a command with the rest of its output, and the reason if it ended badly.
func (r *monitorRun) finish(ctx context.Context, err error) reply {
	for !r.heartbeat.seen {
		select {
		case e := <-r.s.input.next():
			if r.handle(e) != nil {
				return r.abandon()
			}
		case <-ctx.Done():
			return r.abandon()
		}
	}
	rest := r.output.seal()
	if err != nil {
		rest = append(rest, plain.Text(err.Error())+"\n"...)
	}
	if r.heartbeat.expected && len(rest) > 0 {
		return reply{payload: rsp.AppendHex(nil, rest)}
	}
	if r.s.print(rest) != nil {
		return reply{silent: true, end: true}
	}
	return ok()
}
