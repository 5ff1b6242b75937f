package session

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Interactive is a debugger at its prompt. Each answer is read before the next command is typed.
type Interactive struct {
	*process
	echo  func(text string) string
	typed int
}

// StartInteractive starts a debugger. It must print no prompt. echo returns the command that prints
// a text on a line of its own; such a line ends each answer. The debugger is killed when ctx ends.
func StartInteractive(ctx context.Context, echo func(text string) string, name string, args ...string) (*Interactive, error) {
	p, err := startProcess(ctx, name, args...)
	if err != nil {
		return nil, err
	}
	return &Interactive{process: p, echo: echo}, nil
}

// InteractiveGDB starts a gdb at its prompt, with a file to debug.
func InteractiveGDB(ctx context.Context, file string) (*Interactive, error) {
	echo := func(text string) string { return "echo \\n" + text + "\\n" }
	args := append([]string{"-nx", "-q", "-iex", "set auto-load no", "-iex", "set prompt", "-iex", "set confirm off",
		"-iex", "set pagination off", "-iex", "set width 0", "-iex", "set style enabled off"}, IndexCache()...)
	return StartInteractive(ctx, echo, "gdb", append(args, file, "-ex", NoIndexCache)...)
}

// Type types a command and waits until the debugger has answered, or ctx ends.
func (i *Interactive) Type(ctx context.Context, command string) (Step, error) {
	return i.step(ctx, command, nothing)
}

// TypeAndInterrupt types a command, and Ctrl-C after the given time, even if the command has ended.
func (i *Interactive) TypeAndInterrupt(ctx context.Context, command string, after time.Duration) (Step, error) {
	return i.step(ctx, command, func() error {
		time.Sleep(after)
		return i.Interrupt()
	})
}

// step types a command, calls then, and reads the answer.
func (i *Interactive) step(ctx context.Context, command string, then func() error) (Step, error) {
	i.typed++
	end := fmt.Sprint(marker, i.typed)
	step, err := i.ask(ctx, func(line string) bool { return line == end }, command, then, i.echo(end))
	step.Output = strings.Trim(strings.TrimSuffix(step.Output, end+"\n"), "\n")
	return step, err
}

// Close types a last command, such as quit, and waits for the debugger's end.
func (i *Interactive) Close(ctx context.Context, last string) error { return i.close(ctx, last) }
