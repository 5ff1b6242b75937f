package gdbstub_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"physgdb/gdbstub"
)

// runner is a machine that runs. It stops at once after a step, after Interrupt, and when a test
// calls halt.
type runner struct {
	*able
	stops chan gdbstub.Stop
	err   error         // of Resume
	slow  time.Duration // that Resume takes

	mu      sync.Mutex // protects all below
	running bool
	actions [][]gdbstub.Action // of each Resume
}

func newRunner() *runner { return &runner{able: newAble(), stops: make(chan gdbstub.Stop, 1)} }

func (r *runner) Stops() <-chan gdbstub.Stop { return r.stops }

func (r *runner) Resume(_ context.Context, actions []gdbstub.Action) error {
	time.Sleep(r.slow)
	if r.err != nil {
		return r.err
	}
	r.mu.Lock()
	r.running, r.actions = true, append(r.actions, actions)
	r.mu.Unlock()
	if actions[0].Step {
		r.halt(gdbstub.Stop{Thread: actions[0].Thread, Signal: 5})
	}
	return nil
}

func (r *runner) Interrupt(context.Context) error {
	r.halt(gdbstub.Stop{Thread: 1, Signal: 2})
	return nil
}

// halt stops the machine if it runs.
func (r *runner) halt(stop gdbstub.Stop) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running {
		r.running = false
		r.stops <- stop
	}
}

// resumed returns the actions of the last Resume.
func (r *runner) resumed() []gdbstub.Action {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.actions[len(r.actions)-1]
}

func TestRunnerStopsByItself(t *testing.T) {
	machine := newRunner()
	c := connect(t, machine)
	c.ask(gdb13)
	for _, resume := range []string{"c", "vCont;c", "vCont;c:p1.-1", "vCont;C05:p1.1f;c"} {
		c.send(resume)
		time.Sleep(20 * time.Millisecond)
		machine.halt(gdbstub.Stop{Thread: 2, Signal: 5, Text: "breakpoint"})
		if got := c.receive(); got != "O"+hexed("breakpoint\n") {
			t.Errorf("%s: console %q", resume, got)
		}
		if got := c.receive(); got != "T05thread:p1.2;" {
			t.Errorf("%s: %q", resume, got)
		}
		c.expect("qC", "QCp1.2")
	}
}

func TestRunnerActions(t *testing.T) {
	machine := newRunner()
	c := connect(t, machine)
	c.ask(gdb13)
	for packet, want := range map[string][]gdbstub.Action{
		"vCont;s:p1.2;c":          {{Thread: 2, Step: true}, {}},
		"vCont;S0b:p1.1f":         {{Thread: 0x1f, Step: true, Signal: 11}},
		"vCont;s:p1.2;c:p9.1;c:0": {{Thread: 2, Step: true}, {}}, // there is no process 9
	} {
		c.expect(packet, map[gdbstub.ThreadID]string{2: "T05thread:p1.2;", 0x1f: "T05thread:p1.1f;"}[want[0].Thread])
		if got := machine.resumed(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", packet, got, want)
		}
	}
}

func TestRunnerStopsAtCtrlC(t *testing.T) {
	machine := newRunner()
	c := connect(t, machine)
	c.ask(gdb13)
	c.raw("\x03") // the machine is stopped: no reply
	for range 20 {
		c.send("vCont;c")
		c.raw("\x03")
		if got := c.receive(); got != "T02thread:p1.1;" {
			t.Errorf("stop %q", got)
		}
	}
	c.expect("qAttached", "1")
}

func TestRunnerCtrlCDuringResume(t *testing.T) {
	machine := newRunner()
	machine.slow = 100 * time.Millisecond
	c := connect(t, machine)
	c.ask(gdb13)
	c.send("vCont;c")
	c.raw("\x03")
	if got := c.receive(); got != "T02thread:p1.1;" {
		t.Errorf("stop %q", got)
	}
}

// TestRunnerMayResumeSlowly: the client waits for a stop, not for an answer, so the deadline of a
// request does not count.
func TestRunnerMayResumeSlowly(t *testing.T) {
	machine := newRunner()
	machine.slow = 300 * time.Millisecond
	c := dial(t, serve(t, open(machine), &gdbstub.Options{Deadline: 100 * time.Millisecond}))
	c.ask(gdb13)
	c.expect("vCont;s:p1.2", "T05thread:p1.2;")
}

func TestRunnerThatCannotResume(t *testing.T) {
	machine := newRunner()
	machine.err = errBroken
	c := connect(t, machine)
	c.ask(gdb13)
	c.expect("?", "T05thread:p1.1;")
	c.expect("vCont;c", "O"+hexed("the bridge is down\n"))
	if got := c.receive(); got != "T02thread:p1.1;" {
		t.Errorf("stop %q", got)
	}
	c.expect("qAttached", "1")
}

func TestRequestsWhileARunnerRuns(t *testing.T) {
	machine := newRunner()
	c := connect(t, machine)
	c.ask(gdb13 + ";error-message+")
	c.send("vCont;c")
	c.expect("qAttached", "1")
	c.expect("vCont;c", "E.the machine is running")
	machine.halt(gdbstub.Stop{Thread: 0x77, Signal: 6}) // not in the list of threads
	if got := c.receive(); got != "T06thread:p1.1;" {
		t.Errorf("stop %q", got)
	}
	c.send("vCont;c")
	c.expect("D;1", "OK")
	c.expectEnd()
}

func TestRunnerThatIsGone(t *testing.T) {
	machine := newRunner()
	c := connect(t, machine)
	c.send("c")
	time.Sleep(10 * time.Millisecond)
	close(machine.stops)
	if got := c.receive(); got != "X09" {
		t.Errorf("got %q", got)
	}
	c.expectEnd()
}

func TestStopThatTheClientDidNotWaitForIsDropped(t *testing.T) {
	machine := newRunner()
	c := connect(t, machine)
	c.ask(gdb13)
	machine.stops <- gdbstub.Stop{Thread: 1, Signal: 6}
	c.expect("vCont;s:p1.2", "T05thread:p1.2;")
}

func TestGdbRunsAMachine(t *testing.T) {
	kernel := buildKernel(t)
	target := newKernel(t, kernel)
	machine := newRunner()
	machine.able = target
	stopped := make(chan struct{})
	go func() { // the machine stops by itself some time after each continue
		for range 2 {
			eventually(t, "it runs", func() bool {
				machine.mu.Lock()
				defer machine.mu.Unlock()
				return machine.running
			})
			time.Sleep(300 * time.Millisecond)
			machine.halt(gdbstub.Stop{Thread: 2, Signal: 5, Text: "it stopped by itself"})
		}
		close(stopped)
	}()
	out := gdb(t, "file "+kernel, "target remote "+serve(t, open(machine), nil), "stepi", "echo stepped\\n", "continue", "thread",
		"continue", "info threads", "p counter", "detach")
	<-stopped
	for _, want := range []string{
		"stepped\n", "it stopped by itself", "received signal SIGTRAP", "[Current thread is 2 (Thread 1.2)]", "* 2    Thread 1.2", "$1 = 42",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("gdb does not print %q", want)
		}
	}
}
