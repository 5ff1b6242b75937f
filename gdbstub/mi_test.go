package gdbstub_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// mi is a gdb that is spoken to in its machine interface, as VS Code does.
type mi struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.Writer
	lines *bufio.Scanner
}

// startMI starts a gdb that lives until the end of the test at most, and not longer than gdbPatience.
func startMI(t testing.TB, args ...string) *mi {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), gdbPatience)
	cmd := exec.CommandContext(ctx, "gdb", append([]string{"-nx", "-q", "--interpreter=mi3"}, args...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // reports no more than that it was killed, or had ended before
	})
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 16<<20) // a list of threads is one line
	return &mi{t, cmd, in, lines}
}

// until sends a command, reads on to the line that starts with want and returns all that was read.
func (g *mi) until(command, want string) string {
	g.t.Helper()
	fmt.Fprintln(g.in, command)
	var said strings.Builder
	for g.lines.Scan() {
		said.WriteString(g.lines.Text() + "\n")
		if strings.HasPrefix(g.lines.Text(), want) {
			return said.String()
		}
	}
	g.t.Fatalf("gdb does not answer %q with %q, but with\n%.2000s", command, want, said.String())
	return ""
}
