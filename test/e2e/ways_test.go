package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"physgdb/test/session"
)

// atHome sets up the user's settings for debuggers, and a directory for temporary files that must
// be empty at the end.
func atHome(t *testing.T) {
	t.Helper()
	home, temporary := t.TempDir(), t.TempDir()
	settings := "set pagination on\nset confirm on\nset remotetimeout 1\nset auto-load no\necho gdbinit was read\\n\n"
	if err := os.WriteFile(filepath.Join(home, ".gdbinit"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	t.Setenv("TMPDIR", temporary)
	t.Cleanup(func() {
		if left, err := filepath.Glob(filepath.Join(temporary, "physgdb-*")); len(left) > 0 || err != nil {
			t.Errorf("leftover files: %v, %v", left, err)
		}
	})
}

// TestPhysgdbStartsGDB checks that bt is the kernel's Call Trace, that the user's settings are
// used, and that gdb's exit status is passed on.
func TestPhysgdbStartsGDB(t *testing.T) {
	h := hosts[0].ready(t)
	atHome(t)
	r, err := physgdb.Run(limited(t, 2*time.Minute), "gdb", h.guest.Source(), "--vmlinux", h.guest.Kernel.Vmlinux,
		"--threads", "cpus", "--", "-batch", "-ex", "bt", "-ex", "show remotetimeout", "-ex", "quit 7")
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != 7 || !strings.Contains(r.Stdout, "gdbinit was read") || !strings.Contains(r.Stdout, "Timeout limit") ||
		!strings.Contains(r.Stdout, "is 30.") {
		t.Errorf("status %d:\n%s\n%s", r.Status, r.Stdout, r.Stderr)
	}
	want := session.TrimTrace(h.guest.Facts.CallTrace)
	if diff := cmp.Diff(want, session.Trace(r.Stdout, h.vmlinux, h.slide(t))); diff != "" {
		t.Errorf("(-log +gdb):\n%s\n%s", diff, r.Stdout)
	}
}

// TestPhysgdbStartsGDBOnProcess checks that gdb's main file is then the program.
func TestPhysgdbStartsGDBOnProcess(t *testing.T) {
	h := hosts[0].ready(t)
	atHome(t)
	r := run(t, "gdb", h.guest.Source(), "--notify", h.notices, "--cr3", "hello:clock", "--vmlinux", h.guest.Kernel.Vmlinux,
		"--", h.guest.ClockELF(), "-batch", "-ex", "p 'main.Last'.Unix", "-ex", "info files")
	if session.Value(r.Stdout) == "" || session.Value(r.Stdout) == "0" || strings.Contains(r.Stdout, h.guest.Kernel.Vmlinux) {
		t.Errorf("%s\n%s", r.Stdout, r.Stderr)
	}
}

func TestPhysgdbStartsLLDB(t *testing.T) {
	h := hosts[0].ready(t)
	atHome(t)
	r := run(t, "gdb", h.guest.Source(), "--lldb", "--", "--batch", "-o", "thread list")
	if !strings.Contains(r.Stdout, "* thread #1") {
		t.Errorf("%s\n%s", r.Stdout, r.Stderr)
	}
}

// dialogue is a debugger on a terminal.
type dialogue struct {
	*testing.T
	ctx  context.Context
	term *session.Terminal
}

func talk(t *testing.T, name string, args ...string) *dialogue {
	t.Helper()
	ctx := limited(t, 2*time.Minute)
	term, err := session.OnTerminal(ctx, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return &dialogue{t, ctx, term}
}

// say types keys and returns the output up to text.
func (d *dialogue) say(keys, text string) string {
	d.Helper()
	if err := d.term.Type(keys); err != nil {
		d.Fatal(err)
	}
	shown, err := d.term.Await(d.ctx, text)
	if err != nil {
		d.Fatal(err)
	}
	return shown
}

const ctrlC, ctrlBackslash = "\x03", "\x1c"

// TestCtrlCReachesOnlyTheDebugger checks that Ctrl-C ends neither the stub nor the connection,
// whether gdb started the stub or the stub gdb.
func TestCtrlCReachesOnlyTheDebugger(t *testing.T) {
	h := hosts[0].ready(t)
	atHome(t)
	source, vmlinux := h.guest.Source(), h.guest.Kernel.Vmlinux
	for name, start := range map[string]func(t *testing.T) *dialogue{
		"physgdb gdb": func(t *testing.T) *dialogue {
			d := talk(t, string(physgdb), "gdb", source, "--vmlinux", vmlinux)
			d.say("", "Remote debugging using")
			return d
		},
		"target remote |": func(t *testing.T) *dialogue {
			d := talk(t, "gdb", "-nx", "-q", "-ex", "set confirm off", vmlinux)
			d.say("", "(gdb) ")
			d.say("target remote | "+string(physgdb)+" serve --listen stdio "+source+" --vmlinux "+vmlinux+"\n",
				"physgdb: listening on stdio")
			return d
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			d.say("", "(gdb) ")
			d.say(ctrlC, "(gdb) ")
			d.say(ctrlBackslash+ctrlC, "(gdb) ")
			d.say("maint flush register-cache\n", "(gdb) ")
			if shown := d.say("x/s linux_banner\n", "(gdb) "); !strings.Contains(shown, `"Linux version `) {
				t.Errorf("after Ctrl-C: %s", shown)
			}
			d.say("quit 5\n", "quit 5")
			if status, screen := d.term.Wait(); status != 5 {
				t.Errorf("status %d:\n%s", status, screen)
			}
		})
	}
}

func TestSignalEndsDebuggerAndStub(t *testing.T) {
	h := hosts[0].ready(t)
	atHome(t)
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		d := talk(t, string(physgdb), "gdb", h.guest.Source(), "--", "-nx")
		d.say("", "(gdb) ")
		began := time.Now()
		if err := d.term.Signal(signal); err != nil {
			t.Fatal(err)
		}
		status, screen := d.term.Wait() // also gdb has closed the terminal
		if took := time.Since(began); status == 0 || took > 2*time.Second {
			t.Errorf("%v: status %d after %v:\n%s", signal, status, took, screen)
		}
	}
}

// TestGDBStartsTheStub starts the stub on a socket, as gdb does, and on pipes, as ssh does.
func TestGDBStartsTheStub(t *testing.T) {
	h := hosts[0].ready(t)
	vmlinux := h.guest.Kernel.Vmlinux
	stub := string(physgdb) + " serve --listen stdio " + h.guest.Source() + " --threads cpus --vmlinux " + vmlinux
	for name, command := range map[string]string{"socket": "| " + stub, "pipes": "| cat | " + stub + " | cat"} {
		t.Run(name, func(t *testing.T) {
			steps := gdb(t, vmlinux, command, "bt", "detach")
			want := session.TrimTrace(h.guest.Facts.CallTrace)
			if diff := cmp.Diff(want, session.Trace(session.Find(steps, "bt"), h.vmlinux, h.slide(t))); diff != "" {
				t.Errorf("(-log +gdb):\n%s\n%s", diff, session.Transcript(steps))
			}
		})
	}
}

// TestGDBShowsStubError checks that gdb shows the error as well: not all editors show what the stub
// prints.
func TestGDBShowsStubError(t *testing.T) {
	command := "| " + string(physgdb) + " serve --listen stdio /no/such/ram"
	steps := gdb(t, "", command)
	if out := session.Find(steps, "target remote "+command); !strings.Contains(out, "source /no/such/ram: no such file") {
		t.Error(out)
	}
}

func TestStdioRejectsTerminal(t *testing.T) {
	d := talk(t, string(physgdb), "serve", "--listen", "stdio", "/no/such/ram")
	d.say("", "type into gdb: target remote | physgdb serve --listen stdio SOURCE")
	if status, _ := d.term.Wait(); status != 2 {
		t.Errorf("status %d, want that of wrong usage", status)
	}
}

// TestOtherAddresses connects to the addresses that debuggers take besides IPv4 ones.
func TestOtherAddresses(t *testing.T) {
	h := hosts[0].ready(t)
	path := filepath.Join(t.TempDir(), "dead")
	for _, listen := range []string{"unix:" + path, "localhost:0", "0", "[::1]:0"} {
		t.Run(listen, func(t *testing.T) {
			if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
				l.Close()
			} else if listen == "[::1]:0" {
				t.Skip("no IPv6 here")
			}
			s, err := physgdb.Start(limited(t, time.Minute), "listening on ", "serve", "--listen", listen, h.guest.Source())
			if err != nil {
				t.Fatal(err)
			}
			_, address, _ := strings.Cut(s.Ready, "listening on ")
			look := fmt.Sprintf("x/s %#x", h.guest.Facts.Kallsyms["linux_banner"])
			steps := gdb(t, "", address, look)
			if out := session.Find(steps, look); !strings.Contains(out, `"Linux version `) {
				t.Error(session.Transcript(steps))
			}
			if err := s.Stop(); err != nil || s.Stderr() != "" {
				t.Errorf("%v: %s", err, s.Stderr())
			}
		})
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket was not removed: %v", err)
	}
}

// TestStubEndsAtOnce checks that the stub ends at once, also while a client waits for a bridge that
// does not answer.
func TestStubEndsAtOnce(t *testing.T) {
	h := hosts[0].ready(t)
	server, client := session.Link()
	bridge, err := physgdb.Start(limited(t, time.Minute), "adapter at", "adapter", h.guest.Source(), "--listen", server.String())
	if err != nil {
		t.Fatal(err)
	}
	defer bridge.Stop()
	defer bridge.Signal(syscall.SIGCONT)
	path := filepath.Join(t.TempDir(), "dead")
	s, err := physgdb.Start(limited(t, time.Minute), "listening on ", "serve", "--listen", "unix:"+path,
		fmt.Sprintf("nettlp://%v?local=%v&requester=01:00", server, client), "--vmlinux", h.guest.Kernel.Vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	if err := bridge.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	idle, reading := dial(t, path), dial(t, path)
	defer idle.Close()
	defer reading.Close()
	if _, err := reading.Write([]byte("+$mffffffffc0400000,1000#41")); err != nil {
		t.Fatal(err)
	}
	if _, err := reading.Read(make([]byte, 1)); err != nil { // the acknowledgement
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); err != nil || s.Stderr() != "" { // a second signal would kill it
		t.Errorf("%v: %s", err, s.Stderr())
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("the end took %v", took)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket was not removed: %v", err)
	}
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
