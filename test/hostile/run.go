package hostile

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// Outcome is the result of a command.
type Outcome struct {
	Args           []string
	Stdout, Stderr string // the first MiB of each
	Status         int    // of exit; -1 if it was killed
	Took           time.Duration
	Memory         int // peak of its own memory, in bytes
}

// Run runs a command, for at most twice MaxTime, with a cache of its own in dir.
func Run(ctx context.Context, dir string, args ...string) (*Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*MaxTime)
	defer cancel()
	var stdout, stderr capped
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+dir, "TMPDIR="+dir)
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	watch := Watch(cmd.Process.Pid)
	err := cmd.Wait()
	o := &Outcome{args, stdout.String(), stderr.String(), cmd.ProcessState.ExitCode(), time.Since(begin), watch.Stop()}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	return o, nil
}

// Check returns an error for a crash, too much memory or time, or control characters in the output.
func (o *Outcome) Check() error {
	words := strings.Join(o.Args[1:], " ")
	switch {
	case o.Status != 0 && o.Status != 1:
		return fmt.Errorf("%s: exit status %d: %s", words, o.Status, o.Stderr)
	case strings.Contains(o.Stderr, "goroutine "):
		return fmt.Errorf("%s: panic: %s", words, o.Stderr)
	case o.Memory > MaxMemory:
		return fmt.Errorf("%s: took %d MB of memory, want at most %d", words, o.Memory>>20, MaxMemory>>20)
	case o.Took > MaxTime:
		return fmt.Errorf("%s: took %v, want at most %v", words, o.Took, MaxTime)
	}
	for _, text := range []string{o.Stdout, o.Stderr} {
		if at := strings.IndexFunc(text[:max(0, len(text)-utf8.UTFMax)], isControl); at >= 0 { // the last character may be cut
			return fmt.Errorf("%s: prints control characters: %+q", words, text[max(0, at-40):min(len(text), at+40)])
		}
	}
	return nil
}

// isControl reports whether a character has an effect on a terminal or an editor: controls,
// bidirectional marks, line and paragraph separators, and invalid bytes.
func isControl(r rune) bool {
	return r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) || r == utf8.RuneError
}

// capped is a buffer for the first MiB.
type capped struct{ bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	const most = 1 << 20
	c.Buffer.Write(p[:min(len(p), max(0, most-c.Len()))])
	return len(p), nil
}

// MemoryWatch samples the own memory of a process.
type MemoryWatch struct {
	peak atomic.Int64
	stop chan struct{}
	done chan struct{}
}

// Watch samples a process every few milliseconds until Stop.
func Watch(pid int) *MemoryWatch {
	w := &MemoryWatch{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			if now := int64(ownMemory(pid)); now > w.peak.Load() {
				w.peak.Store(now)
			}
			select {
			case <-ticker.C:
			case <-w.stop:
				return
			}
		}
	}()
	return w
}

// Peak returns the maximum so far, in bytes.
func (w *MemoryWatch) Peak() int { return int(w.peak.Load()) }

// Stop ends the watch and returns the maximum, in bytes.
func (w *MemoryWatch) Stop() int {
	close(w.stop)
	<-w.done
	return w.Peak()
}

// ownMemory returns the anonymous resident memory of a process, in bytes (proc(5), RssAnon); 0 if
// it has ended.
func ownMemory(pid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "RssAnon:"); ok {
			kib, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(text), " kB"))
			return kib << 10
		}
	}
	return 0
}
