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

// process is a debugger with its input, and its output line by line.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // of stdout and stderr; closed at the end
	kill  func()
}

// startProcess starts a debugger, which is killed when ctx ends.
func startProcess(ctx context.Context, name string, args ...string) (*process, error) {
	ctx, kill := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, name, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		kill()
		return nil, err
	}
	out, outOfChild, err := os.Pipe()
	if err != nil {
		kill()
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = outOfChild, outOfChild
	err = cmd.Start()
	outOfChild.Close()
	if err != nil {
		kill()
		out.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{cmd, in, make(chan string), kill}
	go p.scan(ctx, out)
	return p, nil
}

// scan splits the output into lines until it or the context ends.
func (p *process) scan(ctx context.Context, out io.ReadCloser) {
	defer close(p.lines)
	defer out.Close()
	s := bufio.NewScanner(out)
	s.Buffer(nil, 16<<20) // in gdb's machine interface a list of threads is one line
	for s.Scan() {
		select {
		case p.lines <- s.Text():
		case <-ctx.Done():
			return
		}
	}
}

// read returns the lines up to the one for which last is true.
func (p *process) read(ctx context.Context, last func(line string) bool) (string, error) {
	var said strings.Builder
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				return said.String(), errEnded
			}
			said.WriteString(line + "\n")
			if last(line) {
				return said.String(), nil
			}
		case <-ctx.Done():
			return said.String(), fmt.Errorf("no answer: %w", context.Cause(ctx))
		}
	}
}

// errEnded is the error for a debugger that ended before it answered.
var errEnded = errors.New("the debugger has ended")

// ask writes lines, calls then after the first, and reads the answer.
func (p *process) ask(ctx context.Context, last func(line string) bool, first string, then func() error, more ...string) (Step, error) {
	begin := time.Now()
	_, err := fmt.Fprintln(p.in, first)
	if err == nil {
		err = then()
	}
	for _, line := range more {
		if err == nil {
			_, err = fmt.Fprintln(p.in, line)
		}
	}
	step := Step{Command: first}
	if err == nil {
		step.Output, err = p.read(ctx, last)
	}
	step.Took = time.Since(begin)
	if err != nil {
		return step, fmt.Errorf("%q: %w; it said:\n%s", first, err, step.Output)
	}
	return step, nil
}

// Interrupt sends the debugger a SIGINT, as Ctrl-C does.
func (p *process) Interrupt() error { return p.cmd.Process.Signal(os.Interrupt) }

// close writes a last command and waits for the debugger's end.
func (p *process) close(ctx context.Context, command string) error {
	_, _ = fmt.Fprintln(p.in, command) // it may be gone already
	p.in.Close()
	if _, err := p.read(ctx, func(string) bool { return false }); !errors.Is(err, errEnded) {
		p.kill()
	}
	err := p.cmd.Wait()
	p.kill()
	return err
}

func nothing() error { return nil }
