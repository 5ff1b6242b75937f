package gdbstub_test

import (
	"context"
	"strings"
	"testing"

	"physgdb/test/session"
)

// mi is a gdb that is driven through its machine interface, as VS Code does.
type mi struct {
	*session.MI
	t   testing.TB
	ctx context.Context
}

// startMI starts a gdb with a file to debug or "". It ends with the test and after gdbPatience at
// the latest.
func startMI(t testing.TB, file string) *mi {
	t.Helper()
	ctx := patient(t)
	var args []string
	if file != "" {
		args = append(args, file)
	}
	gdb, err := session.StartMI(ctx, args...)
	return started(t, ctx, gdb, err)
}

// startMIEngine is startMI with the first commands of MIEngine.
func startMIEngine(t testing.TB, file string) *mi {
	t.Helper()
	ctx := patient(t)
	gdb, err := session.StartMIEngine(ctx, file)
	return started(t, ctx, gdb, err)
}

func patient(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), gdbPatience)
	t.Cleanup(cancel)
	return ctx
}

func started(t testing.TB, ctx context.Context, gdb *session.MI, err error) *mi {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return &mi{gdb, t, ctx}
}

// until sends a command and returns all records up to the one that starts with want.
func (g *mi) until(command, want string) string {
	g.t.Helper()
	step, err := g.Until(g.ctx, command, func(record string) bool { return strings.HasPrefix(record, want) })
	if err != nil {
		g.t.Fatalf("no %q: %v", want, err)
	}
	return step.Output
}

// end ends gdb.
func (g *mi) end() {
	g.t.Helper()
	if err := g.Close(g.ctx); err != nil {
		g.t.Errorf("gdb: %v", err)
	}
}
