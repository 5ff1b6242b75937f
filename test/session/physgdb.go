// Package session runs physgdb's commands and debuggers, for tests and for the demo.
package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Physgdb is the physgdb command: the path of its binary.
type Physgdb string

// Build builds the command into dir.
func Build(ctx context.Context, dir string) (Physgdb, error) {
	bin := filepath.Join(dir, "physgdb")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", bin, "physgdb/cmd/physgdb").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build physgdb: %w\n%s", err, out)
	}
	return Physgdb(bin), nil
}

// environ is the environment of its commands: their caches are next to the binary, so that they do
// not use results of earlier runs, and debuginfod is disabled.
func (p Physgdb) environ() []string {
	return append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(filepath.Dir(string(p)), "cache"), "DEBUGINFOD_URLS=")
}

// Result is the result of a command that has ended.
type Result struct {
	Stdout, Stderr string
	Status         int // of exit; -1 if there was none
	Elapsed        time.Duration
	PeakMemory     int64 // resident, in bytes
}

// Run runs a command to its end. An exit status other than 0 is no error.
func (p Physgdb) Run(ctx context.Context, args ...string) (*Result, error) {
	cmd := exec.CommandContext(ctx, string(p), args...)
	cmd.Env = p.environ()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	err := cmd.Run()
	r := &Result{Stdout: stdout.String(), Stderr: stderr.String(), Status: cmd.ProcessState.ExitCode(), Elapsed: time.Since(begin)}
	if cmd.ProcessState == nil {
		return r, err // it did not start
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.PeakMemory = usage.Maxrss << 10
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return r, err
	}
	return r, ctx.Err()
}

// Service is a command that runs until it is stopped: a stub, an adapter, a listener for notices.
type Service struct {
	// Ready is the line by which it reported that it is ready.
	Ready string

	cmd            *exec.Cmd
	stdout, stderr Output
	exited         chan struct{}
	err            error // of the exit; read it when exited is closed
}

// Output is a stream that can be read while it is written.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Start starts a command and waits for a line with the text ready on stdout or stderr.
func (p Physgdb) Start(ctx context.Context, ready string, args ...string) (*Service, error) {
	s := &Service{cmd: exec.Command(string(p), args...), exited: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = &s.stdout, &s.stderr
	s.cmd.Env = p.environ()
	// Services end with a test that is killed.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.exited)
		s.err = s.cmd.Wait()
	}()
	for {
		for line := range strings.Lines(s.Stdout() + s.Stderr()) {
			if strings.Contains(line, ready) && strings.HasSuffix(line, "\n") {
				s.Ready = strings.TrimSpace(line)
				return s, nil
			}
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-s.exited:
			return nil, fmt.Errorf("physgdb %s ended (%v): %s", args[0], s.err, s.Stderr())
		case <-ctx.Done():
			s.cmd.Process.Kill()
			<-s.exited
			return nil, fmt.Errorf("physgdb %s did not get ready: %w: %s", args[0], context.Cause(ctx), s.Stderr())
		}
	}
}

// Serve starts a stub on a free port and returns its address, HOST:PORT.
func (p Physgdb) Serve(ctx context.Context, args ...string) (*Service, string, error) {
	s, err := p.Start(ctx, "listening on ", append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	if err != nil {
		return nil, "", err
	}
	_, address, _ := strings.Cut(s.Ready, "listening on ")
	return s, address, nil
}

// Stdout returns the command's standard output so far.
func (s *Service) Stdout() string { return s.stdout.String() }

// Stderr returns the command's standard error so far.
func (s *Service) Stderr() string { return s.stderr.String() }

// Signal sends the command a signal.
func (s *Service) Signal(signal os.Signal) error { return s.cmd.Process.Signal(signal) }

// Stop interrupts the command and waits for its end. The error is for an exit status other than 0.
func (s *Service) Stop() error {
	_ = s.cmd.Process.Signal(os.Interrupt) // it may have ended by itself
	return s.Wait()
}

// Wait waits until the command ends. The error is for an exit status other than 0.
func (s *Service) Wait() error {
	<-s.exited
	return s.err
}

// Usage returns the resources that the process used; call it after Stop.
func (s *Service) Usage() *os.ProcessState { return s.cmd.ProcessState }
