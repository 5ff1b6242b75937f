package gdbstub_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// lldb runs the commands in one lldb 14, with a program to debug or "", and returns all it printed. It looks for no kernel
// of another system in memory, as it does when it has no program.
func lldb(t testing.TB, program string, commands ...string) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "commands")
	if err := os.WriteFile(script, []byte(strings.Join(commands, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"--no-lldbinit", "--no-use-colors", "-O", "settings set interpreter.stop-command-source-on-error false",
		"-O", "settings set plugin.dynamic-loader.darwin-kernel.scan-type none", "-s", script, "-o", "quit"}
	if program != "" {
		args = append(args, program)
	}
	ctx, cancel := context.WithTimeout(context.Background(), gdbPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "lldb-14", args...).CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("lldb hangs; it printed:\n%s", out)
	}
	t.Logf("lldb %s\n%s%v", strings.Join(commands, "; "), out, err)
	return string(out)
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
