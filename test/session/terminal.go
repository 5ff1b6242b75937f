package session

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Terminal is a program on a terminal of its own, with somebody at the keyboard.
type Terminal struct {
	cmd    *exec.Cmd
	keys   *os.File
	screen Output
	read   int // how much of the screen Await has looked at
	copied chan struct{}
}

// OnTerminal starts a program on a new terminal, as its foreground job.
func OnTerminal(ctx context.Context, name string, args ...string) (*Terminal, error) {
	keys, tty, err := openTerminal()
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	defer tty.Close()
	t := &Terminal{cmd: exec.CommandContext(ctx, name, args...), keys: keys, copied: make(chan struct{})}
	t.cmd.Stdin, t.cmd.Stdout, t.cmd.Stderr = tty, tty, tty
	t.cmd.Env = append(os.Environ(), "TERM=dumb")
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := t.cmd.Start(); err != nil {
		keys.Close()
		return nil, err
	}
	go func() {
		defer close(t.copied)
		_, _ = keys.WriteTo(&t.screen) // ends with an error, as nobody has the terminal open any more
	}()
	return t, nil
}

// openTerminal opens both sides of a pseudoterminal (pty(7)).
func openTerminal() (keys, tty *os.File, err error) {
	keys, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	if err = unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0); err == nil {
		var number int
		if number, err = unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN); err == nil {
			tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
		}
	}
	if err != nil {
		keys.Close()
	}
	return keys, tty, err
}

// Type presses keys.
func (t *Terminal) Type(keys string) error {
	_, err := t.keys.WriteString(keys)
	return err
}

// Await waits until text appears behind what was awaited before, and returns what is on the screen
// up to there.
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
	_ = t.cmd.Wait() // the status tells
	<-t.copied
	t.keys.Close()
	return t.cmd.ProcessState.ExitCode(), t.screen.String()
}
