package session

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// LLDB is an lldb that executes one command after the other. A command that resumes the program
// ends when the program has stopped again.
type LLDB struct {
	ctx   context.Context
	cmd   *exec.Cmd
	in    io.WriteCloser // a file of commands for lldb, which waits for the end of each
	stdin io.WriteCloser // read after that file
	out   *os.File
	lines *bufio.Reader // of out
	marks int
}

// StartLLDB starts lldb 14 with the file to debug, or "" for none. It is killed when ctx ends;
// Close must be called even then.
func StartLLDB(ctx context.Context, file string) (*LLDB, error) {
	commands, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, printed, err := os.Pipe()
	if err != nil {
		commands.Close()
		in.Close()
		return nil, err
	}
	l := &LLDB{ctx: ctx, in: in, out: out, lines: bufio.NewReader(out)}
	l.cmd = exec.CommandContext(ctx, "lldb-14", "--no-lldbinit", "--no-use-colors",
		"-O", "settings set interpreter.stop-command-source-on-error false", "-s", "/dev/fd/3")
	l.cmd.ExtraFiles = []*os.File{commands}
	l.cmd.Stdout, l.cmd.Stderr = printed, printed
	if l.stdin, err = l.cmd.StdinPipe(); err == nil {
		err = l.cmd.Start()
	}
	commands.Close()
	printed.Close() // so that out ends when lldb has ended
	if err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	first := "version" // its output includes what lldb prints as it starts
	if file != "" {
		first = "target create " + file
	}
	if _, err := l.Type(first); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Type types a command and waits until it is done. An error of the command itself is in its output.
func (l *LLDB) Type(command string) (Step, error) {
	begin := time.Now()
	l.marks++
	mark := fmt.Sprintf("%s%d", marker, l.marks)
	if _, err := fmt.Fprintf(l.in, "%s\n%s\n", command, mark); err != nil {
		return Step{}, fmt.Errorf("lldb: %s: %w", command, err)
	}
	var said strings.Builder
	for {
		line, err := l.lines.ReadString('\n')
		switch {
		case l.ctx.Err() != nil:
			err = context.Cause(l.ctx)
			fallthrough
		case err != nil:
			return Step{}, fmt.Errorf("lldb: %s: %w\n%s", command, err, said.String())
		case strings.Contains(line, "'"+mark+"'"): // the error for the unknown command mark
			return Step{command, strings.TrimSpace(said.String()), time.Since(begin)}, nil
		case !strings.HasPrefix(line, "(lldb) "): // not the echo of a command
			said.WriteString(line)
		}
	}
}

// Interrupt sends SIGINT, as Ctrl-C does, also during a command. lldb then stops reading the file
// of commands and reads standard input, where it does not wait for the program to stop.
func (l *LLDB) Interrupt() error {
	if err := l.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	if l.in != l.stdin {
		l.in.Close()
		l.in = l.stdin
	}
	return nil
}

// Close types quit, by which lldb also tries to kill the program. The error is for an exit
// status other than 0.
func (l *LLDB) Close() error {
	_, _ = io.WriteString(l.in, "quit\n") // it may have ended by itself
	l.in.Close()
	l.stdin.Close()
	defer l.out.Close()
	if err := l.cmd.Wait(); err != nil {
		return fmt.Errorf("lldb: %w", err)
	}
	return nil
}
