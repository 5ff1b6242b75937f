package guest

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// run runs a command in a directory ("" for this one) and returns its output; an error ends with
// the last lines of stderr.
func run(ctx context.Context, dir, name string, args ...string) (string, error) {
	return output(ctx, exec.CommandContext(ctx, name, args...), dir)
}

// output runs a command that was made with ctx.
func output(ctx context.Context, cmd *exec.Cmd, dir string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx) // it was killed
		}
		return stdout.String(), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, lastLines(stderr.String(), 5))
	}
	return stdout.String(), nil
}

// lastLines returns the last n lines of a text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
