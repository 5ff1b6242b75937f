package gdbstub_test

import (
	"context"
	"testing"

	"physgdb/test/session"
)

// lldb runs commands in one lldb, with a program to debug or "". It does not scan memory for a
// kernel of another system, as lldb does without a program.
func lldb(t testing.TB, program string, commands ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), gdbPatience)
	defer cancel()
	l, err := session.StartLLDB(ctx, program)
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range append([]string{"settings set plugin.dynamic-loader.darwin-kernel.scan-type none"}, commands...) {
		step, err := l.Type(command)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("(lldb) %s\n%s", command, step.Output)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// typedInLLDB is a session of lldb with a file, for record.
func typedInLLDB(commands ...string) func(t *testing.T, kernel, address string) {
	return func(t *testing.T, kernel, address string) {
		lldb(t, kernel, append([]string{"gdb-remote " + address}, commands...)...)
	}
}

// withoutAFile is typedInLLDB without one.
func withoutAFile(commands ...string) func(t *testing.T, kernel, address string) {
	return func(t *testing.T, _, address string) { typedInLLDB(commands...)(t, "", address) }
}
