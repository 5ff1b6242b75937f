package session

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/creack/pty"
)

// Terminal is a program on a terminal of its own, and the keyboard of that terminal.
type Terminal struct {
	cmd    *exec.Cmd
	keys   *os.File
	screen Output
	read   int // how much of the screen Await has looked at
	copied chan struct{}
}

// OnTerminal starts a program on a new terminal, as its foreground job.
func OnTerminal(ctx context.Context, name string, args ...string) (*Terminal, error) {
	t := &Terminal{cmd: exec.CommandContext(ctx, name, args...), copied: make(chan struct{})}
	t.cmd.Env = append(os.Environ(), "TERM=dumb")
	var err error
	if t.keys, err = pty.Start(t.cmd); err != nil {
		return nil, fmt.Errorf("start %s on a terminal: %w", name, err)
	}
	go func() {
		defer close(t.copied)
		_, _ = t.keys.WriteTo(&t.screen) // ends with EIO when the program has closed the terminal
	}()
	return t, nil
}

// Type presses keys.
func (t *Terminal) Type(keys string) error {
	_, err := t.keys.WriteString(keys)
	return err
}

// Await waits until text appears after what was awaited before, and returns the screen's text up to
// there.
func (t *Terminal) Await(ctx context.Context, text string) (string, error) {
	for {
		fresh := t.screen.String()[t.read:]
		if i := strings.Index(fresh, text); i >= 0 {
			t.read += i + len(text)
			return fresh[:i+len(text)], nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return "", fmt.Errorf("no %q on the screen: %w:\n%s", text, context.Cause(ctx), t.screen.String())
		}
	}
}

// Signal sends the program a signal, as kill does.
func (t *Terminal) Signal(signal os.Signal) error { return t.cmd.Process.Signal(signal) }

// Wait waits for the end of the program and returns its exit status and all that was on the screen.
func (t *Terminal) Wait() (status int, screen string) {
	_ = t.cmd.Wait() // the exit status is returned
	<-t.copied
	t.keys.Close()
	return t.cmd.ProcessState.ExitCode(), t.screen.String()
}
