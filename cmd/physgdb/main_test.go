package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"physgdb/test/memimage"
	"physgdb/test/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const slide = 0x1c000000

// deadHost is a dead kernel and what its owner has of it, as files.
type deadHost struct {
	*memimage.Kernel
	dir, ram, vmlinux string
	cr3, clock        string // as the user types them: that of the panic, and that of the program clock
}

func newHost(t *testing.T) *deadHost {
	t.Helper()
	h := &deadHost{Kernel: memimage.NewKernel(&memimage.KernelOptions{Slide: slide}), dir: t.TempDir()}
	h.cr3 = fmt.Sprintf("%#x", h.CR3)
	h.clock = fmt.Sprintf("%#x", h.AddProcess("tick"))
	h.ram, h.vmlinux = filepath.Join(h.dir, "ram"), filepath.Join(h.dir, "vmlinux")
	must(t, h.Kernel.WriteFile(h.ram))
	must(t, h.WriteVmlinux(h.vmlinux, memimage.BuildID))
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// file writes a file into the machine's directory and returns its path.
func (h *deadHost) file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(h.dir, name)
	must(t, os.WriteFile(path, []byte(content), 0o644))
	return path
}

// hello and death are the notices of this host.
func (h *deadHost) hello(name string) string {
	return fmt.Sprintf(`{"physgdb":1,"event":"hello","host":"db7","pid":143,"comm":%q,"cr3":%q}`+"\n", name, h.clock)
}

func (h *deadHost) death() string {
	return fmt.Sprintf(`{"physgdb":1,"event":"panic","host":"db7","cpu":2,"pid":1,"comm":"init","cr3":%q,`+
		`"rip":"0xffffffff9d001010","message":"tests"}`+"\n", h.cr3)
}

// words replaces RAM, VMLINUX, CR3, CLOCK and DIR in a command line and splits it.
func (h *deadHost) words(line string) []string {
	r := strings.NewReplacer("RAM", h.ram, "VMLINUX", h.vmlinux, "CR3", h.cr3, "CLOCK", h.clock, "DIR", h.dir)
	return strings.Fields(r.Replace(line))
}

// result is what a command that has ended left.
type result struct {
	status      int
	out, errors string
}

// physgdb runs a command to its end.
func physgdb(t *testing.T, args ...string) result {
	t.Helper()
	return start(t, args...).wait(t)
}

// want checks the exit status and that the last line on stderr, which must be the only one of an
// error, holds some text.
func (r result) want(t *testing.T, status int, text string) {
	t.Helper()
	if r.status != status {
		t.Errorf("status %d, want %d; stderr %q", r.status, status, r.errors)
	}
	if status == exitDone {
		return
	}
	lines := slices.Collect(strings.Lines(r.errors))
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "physgdb: ") || !strings.Contains(lines[0], text) {
		t.Errorf("stderr %q, want one line with %q", r.errors, text)
	}
}

const patience = 20 * time.Second

// await returns the line that begins with prefix as soon as it has come, without the prefix.
func await(t *testing.T, o *session.Output, prefix string) string {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		for line := range strings.Lines(o.String()) {
			if rest, ok := strings.CutPrefix(line, prefix); ok && strings.HasSuffix(rest, "\n") {
				return strings.TrimSuffix(rest, "\n")
			}
		}
	}
	t.Fatalf("no line %q in %q", prefix, o.String())
	return ""
}

// process is a command that runs.
type process struct {
	out, errors session.Output
	cancel      context.CancelFunc
	status      chan int
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cancel: cancel, status: make(chan int, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.status <- run(ctx, append([]string{"physgdb"}, args...), &p.out, &p.errors)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return p
}

// wait waits for the end of the command.
func (p *process) wait(t *testing.T) result {
	t.Helper()
	select {
	case status := <-p.status:
		return result{status, p.out.String(), p.errors.String()}
	case <-time.After(patience):
		t.Fatalf("the command does not end; stderr %q", p.errors.String())
		return result{}
	}
}

// stop ends the command as a signal does.
func (p *process) stop(t *testing.T) result {
	t.Helper()
	p.cancel()
	return p.wait(t)
}

// TestEachErrorHasALine is for those of several that come together.
func TestEachErrorHasALine(t *testing.T) {
	h := newHost(t)
	r := physgdb(t, h.words("cr3 RAM --cr3 CR3 cron atd")...)
	for i, name := range []string{`physgdb: cr3: "cron" is neither`, `physgdb: "atd" is neither`} {
		if lines := strings.Split(r.errors, "\n"); len(lines) != 3 || !strings.HasPrefix(lines[i], name) || r.status != exitFailed {
			t.Errorf("status %d, stderr %q, want a line %q", r.status, r.errors, name)
		}
	}
}

// closed is a pipe without a reader.
type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestClosedPipe(t *testing.T) {
	h := newHost(t)
	var said session.Output
	for _, line := range []string{"info RAM --cr3 CR3", "maps RAM --cr3 CR3", "vtop RAM --cr3 CR3 0xffffffff9d000000 0x10",
		"read RAM --cr3 CR3 --vmlinux VMLINUX linux_banner 16"} {
		args := append([]string{"physgdb"}, h.words(line)...)
		if status := run(t.Context(), args, closed{}, &said); status != 141 || strings.Contains(said.String(), "pipe") {
			t.Errorf("%s: status %d, stderr %q", line, status, said.String())
		}
	}
}
