package debugger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// ExitError is the end of a debugger whose exit status was not 0.
type ExitError struct {
	Status int // of exit; 128 and the number of the signal that it died of, as shells have it
}

// Error says it as shells do.
func (e *ExitError) Error() string {
	return fmt.Sprintf("the debugger ended with exit status %d", e.Status)
}

// patience is how long a debugger may take to end when it is asked to. It first detaches and
// restores the terminal.
const patience = 3 * time.Second

// Run starts the debugger on the terminal and waits for its end. The error is an [*ExitError] if it
// ended with another status than 0. When ctx is done it is asked to end, too.
func (d *Debugger) Run(ctx context.Context, s *Session) error {
	cmd := exec.CommandContext(ctx, d.path, d.arguments(s)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	LeaveKeys()
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case !errors.As(err, &exit):
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("start the debugger: %w", err)
		}
		return err
	case exit.ExitCode() >= 0:
		return &ExitError{Status: exit.ExitCode()}
	}
	return &ExitError{Status: 128 + int(exit.Sys().(syscall.WaitStatus).Signal())}
}

// LeaveKeys leaves Ctrl-C and Ctrl-\ to the debugger from now on: the terminal sends their signals
// to both, and what they interrupt is the debugger's doing. They are caught rather than ignored,
// since a child inherits what is ignored.
func LeaveKeys() {
	signal.Ignore(os.Interrupt, syscall.SIGQUIT) // this ends earlier calls of signal.Notify
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGQUIT)
}
