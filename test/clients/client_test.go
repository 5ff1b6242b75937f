package clients

import (
	"context"
	"testing"
	"time"

	"physgdb/test/session"
)

// client is a kind of debugger: a column.
type client interface {
	// name returns its name and version.
	name() string
	// start starts one with the kernel's file, without a connection.
	start(ctx context.Context, m *machine) (driver, error)
}

// driver is a debugger that runs.
type driver interface {
	// do executes an action of the rows.
	do(ctx context.Context, action string) (outcome, error)
	// stop ends the debugger and returns the transcript of commands and answers.
	stop(ctx context.Context) (transcript string, err error)
}

// outcome is the output of a client for an action.
type outcome struct {
	text  string   // all of it
	items []string // of a list: the functions of a backtrace, or threads, "TID NAME"
	took  time.Duration
}

// machine is a dead machine with a stub, and the files that a client loads.
type machine struct {
	*witness
	files
	stub string       // HOST:PORT
	tap  *session.Tap // between the client and the stub
}

// tapped returns the machine with a tap of its own.
func (m *machine) tapped(t testing.TB) *machine {
	t.Helper()
	tap, err := session.StartTap(m.stub)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tap.Close(); err != nil {
			t.Error(err)
		}
	})
	return &machine{m.witness, m.files, m.stub, tap}
}

// begin returns the file that a client starts with if it asks the stub for files: "" if the stub
// has one.
func (m *machine) begin() string {
	if m.made {
		return ""
	}
	return m.kernel
}

// address returns where clients connect to, HOST:PORT.
func (m *machine) address() string { return m.tap.Address() }
