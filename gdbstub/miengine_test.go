package gdbstub_test

import (
	"strings"
	"testing"
)

// launch is what VS Code's cppdbg (MIEngine) makes gdb do for "request": "launch" with
// miDebuggerServerAddress: connect, show the stop, let it run because a person said so, with a
// breakpoint and without, pause, and end.
func launch(t *testing.T, kernel, address string) {
	t.Helper()
	g := startMIEngine(t, kernel)
	g.until("-break-insert -f main", "^done")
	g.until("-target-select remote "+address, "^connected")
	g.look()
	g.until("-exec-continue", "*stopped")
	g.until("-exec-interrupt", "^done")
	g.until("-exec-step-instruction --thread 1 --frame 0", "*stopped")
	g.until("-break-insert -f outer", "^done")
	g.until("-exec-continue", "^error")
	g.until("-break-delete 2", "^done")
	g.until(`-interpreter-exec console "kill"`, "^done")
	g.end()
}

// attach is the same for "request": "attach" with "processId": 1 and "useExtendedRemote": true.
// MIEngine always lets the process run after it.
func attach(t *testing.T, kernel, address string) {
	t.Helper()
	g := startMIEngine(t, kernel)
	g.until("-target-select extended-remote "+address, "^connected")
	if said := g.until("-target-attach 1", "^done"); strings.Contains(said, "=thread-group-exited") {
		t.Errorf("the attach ends a process, and with it MIEngine's session:\n%s", said)
	}
	g.look()
	g.until("-exec-continue", "*stopped")
	g.until("-target-detach", "^done")
	g.end()
}

// look asks what the views of VS Code show at a stop.
func (g *mi) look() {
	g.t.Helper()
	g.until("-thread-info", "^done")
	g.until("-stack-list-frames --thread 1 0 1000", "^done")
	g.until("-stack-list-arguments --thread 1 0 0 1000", "^done")
	g.until("-data-list-register-names", "^done")
	g.until("-data-list-register-values --thread 1 x", "^done")
}
