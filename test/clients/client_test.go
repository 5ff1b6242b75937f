package clients

import (
	"context"
	"testing"
	"time"
)

// client is a kind of debugger: a column.
type client interface {
	// name says which it is, with its version.
	name() string
	// start starts one with the kernel's file, connected to nothing.
	start(ctx context.Context, m *machine) (driver, error)
}

// driver is a debugger that runs.
type driver interface {
	// do does an action of the rows: on the machine, or, if there is none but its files, as much of
	// it as makes sense.
	do(ctx context.Context, action string) (outcome, error)
	// stop ends the debugger and returns what was typed and answered.
	stop(ctx context.Context) (transcript string, err error)
}

// outcome is what a client showed of an action.
type outcome struct {
	text  string   // all of it
	items []string // of a list: the functions of a backtrace, or threads, "TID NAME"
	took  time.Duration
}

// machine is a dead machine behind a stub, or nothing but the files of one: what a client can do by
// itself.
type machine struct {
	*witness
	files
	stub string // HOST:PORT
	tap  *tap   // on the way to the stub; nil for none
}

// tapped is the machine with a tap of its own on the way to it.
func (m *machine) tapped(t testing.TB) *machine {
	return &machine{m.witness, m.files, m.stub, startTap(t, m.stub)}
}

// alone is the same without the machine.
func (m *machine) alone() *machine { return &machine{witness: m.witness, files: m.files} }

// replayed is the same behind a stub that says at once what this one has said.
func (m *machine) replayed(t testing.TB) *machine {
	return (&machine{m.witness, m.files, m.tap.replayed().start(t), nil}).tapped(t)
}

// begin is the file with which a client begins that asks a stub for files: "" if it will get one.
func (m *machine) begin() string {
	if m.made && m.tap != nil {
		return ""
	}
	return m.kernel
}

// address is where clients connect to, HOST:PORT, or "" for nowhere.
func (m *machine) address() string {
	if m.tap == nil {
		return ""
	}
	return m.tap.address
}

// at moves an address of the kernel to where the client has it: without the machine, to where it
// was linked.
func (m *machine) at(addr uint64) uint64 {
	if m.tap == nil {
		return addr - m.guest.Facts.Slide
	}
	return addr
}

// recipe is what is typed for an action: on a machine, and without one, where that makes sense.
type recipe struct{ with, alone []string }

// commands are those of a recipe that fit the machine.
func (m *machine) commands(r recipe) []string {
	if m.tap == nil {
		return r.alone
	}
	return r.with
}

// both is a recipe with commands that make sense without a machine, too.
func both(commands ...string) recipe { return recipe{commands, commands} }

// only is a recipe with commands that need a machine.
func only(commands ...string) recipe { return recipe{with: commands} }
