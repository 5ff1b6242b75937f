// Package target makes a machine a [gdbstub.Target]: the whole machine, whose threads are its tasks
// or CPUs, or one of its processes. Each connection has a session of its own.
package target

import (
	"context"
	"time"

	"physgdb/cmd/internal/machine"
	"physgdb/gdbstub"
)

// The kinds of threads that a debugger is shown.
const (
	ThreadsTasks = "tasks" // every task of the machine
	ThreadsCPUs  = "cpus"  // the CPUs, with what they ran
)

// Machine opens sessions with a machine.
type Machine struct {
	m        *machine.Machine
	cpusOnly bool
	tasks    background // reads the list of tasks ahead
}

// New returns a Machine whose threads are of the given kind, [ThreadsTasks] or [ThreadsCPUs].
func New(m *machine.Machine, threads string) *Machine {
	return &Machine{m: m, cpusOnly: threads == ThreadsCPUs}
}

// NewSession opens the machine for one connection.
func (t *Machine) NewSession(ctx context.Context) (gdbstub.Target, error) {
	if !t.m.Live {
		return newSession(ctx, t.m, t.cpusOnly), nil
	}
	now, err := t.m.Refresh(ctx)
	if err != nil {
		return nil, err
	}
	return &liveSession{newSession(ctx, now, t.cpusOnly)}, nil
}

// maxReadAhead is how long [Machine.ReadAhead] takes at most: a debugger that connects then is
// shown what the CPUs ran.
const maxReadAhead = 10 * time.Second

// ReadAhead lists the threads, so that the first debugger has them at once: over a slow bridge that
// may take longer than debuggers wait. A list that takes longer than maxReadAhead is read on in the
// background, until Close. What cannot be read now is reported when a debugger asks. The error is
// ctx's.
func (t *Machine) ReadAhead(ctx context.Context) error {
	if t.m.Kernel.Symbols != nil && !t.cpusOnly {
		t.tasks.start(func(ctx context.Context) { _, _ = t.m.Kernel.Tasks(ctx) })
		t.tasks.wait(ctx, maxReadAhead)
	}
	soon, cancel := context.WithTimeout(ctx, maxReadAhead)
	defer cancel()
	v := newView(soon, t.m, t.cpusOnly)
	if _, err := v.threads(soon); err != nil && ctx.Err() != nil {
		return err
	}
	return nil
}

// Close ends what is read in the background. The machine stays open.
func (t *Machine) Close() { t.tasks.stop() }

// background is work that may continue after its caller has stopped waiting. The zero value has no
// work.
type background struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when the work has ended
}

// start begins the work, which ends when its ctx does.
func (b *background) start(work func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel, b.done = cancel, make(chan struct{})
	go func() {
		defer close(b.done)
		work(ctx)
	}()
}

// wait returns when the work has ended, or ctx has, or the time is over.
func (b *background) wait(ctx context.Context, patience time.Duration) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-b.done:
	case <-ctx.Done():
	case <-timer.C:
	}
}

// stop ends the work, and returns when it has ended.
func (b *background) stop() {
	if b.cancel != nil {
		b.cancel()
		<-b.done
	}
}
