package entry

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAddresses(t *testing.T) {
	for _, tc := range []struct{ text, network, address string }{
		{"127.0.0.1:1234", "tcp4", "127.0.0.1:1234"},
		{"1234", "tcp4", "127.0.0.1:1234"},
		{":1234", "tcp4", "127.0.0.1:1234"},
		{"0.0.0.0:1234", "tcp4", "0.0.0.0:1234"},
		{"[::]:1234", "tcp", "[::]:1234"},
		{"[::1]:0", "tcp", "[::1]:0"},
		{"localhost:1234", "tcp", "localhost:1234"},
		{"unix:/run/x", "unix", "/run/x"},
		{"stdio", "stdio", "stdio"},
	} {
		got, err := Parse(tc.text)
		if want := (Address{tc.network, tc.address}); got != want || err != nil {
			t.Errorf("%s: %v, %v; want %v", tc.text, got, err, want)
		}
	}
}

func TestAddressesThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  forms,
		"gdb":                               forms,
		"::1":                               forms,
		"127.0.0.1:":                        forms,
		"127.0.0.1:65536":                   forms,
		"127.0.0.1:http":                    forms,
		"[::1:1234":                         forms,
		"unix:":                             "the path is missing",
		"unix:/run/a:1":                     "gdb reads a path with a colon as HOST:PORT",
		"unix:/" + strings.Repeat("x", 107): "at most 107 bytes",
	} {
		if a, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", text, a, err, want)
		}
	}
}

func TestWarnExposed(t *testing.T) {
	for text, want := range map[string]bool{
		"0": false, "localhost:0": false, "[::1]:0": false, "unix:" + filepath.Join(t.TempDir(), "s"): false,
		"0.0.0.0:0": true, "[::]:0": true,
	} {
		a, err := Parse(text)
		must(t, err)
		l, err := a.Listen()
		if err != nil && strings.HasPrefix(text, "[") {
			t.Log(err) // no IPv6 here
			continue
		}
		must(t, err)
		defer l.Close()
		var said strings.Builder
		WarnExposed(&said, l.Addr())
		if got := strings.Contains(said.String(), "WARNING: EVERY CLIENT THAT CAN CONNECT TO "+l.Addr().String()); got != want {
			t.Errorf("%s: %q, want a warning: %v", text, said.String(), want)
		}
	}
	for ip, want := range map[string]bool{"127.0.0.2": false, "0.0.0.0": true, "192.0.2.1": true} {
		var said strings.Builder
		WarnExposed(&said, &net.UDPAddr{IP: net.ParseIP(ip), Port: 1})
		if got := said.Len() > 0; got != want {
			t.Errorf("%s: %q, want a warning: %v", ip, said.String(), want)
		}
	}
}

// listen listens at a path for the test.
func listen(t *testing.T, path string) (net.Listener, error) {
	t.Helper()
	l, err := Address{"unix", path}.Listen()
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	return l, err
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.Listen("unix", path)
	must(t, err)
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	must(t, dead.Close())
	_, err = os.Lstat(path)
	must(t, err)
	_, err = listen(t, path)
	must(t, err)
	conn, err := net.Dial("unix", path)
	must(t, err)
	conn.Close()
}

func TestWhatIsNoStaleSocketStays(t *testing.T) {
	dir := t.TempDir()
	live, file, link := filepath.Join(dir, "live"), filepath.Join(dir, "file"), filepath.Join(dir, "link")
	_, err := listen(t, live)
	must(t, err)
	must(t, os.WriteFile(file, []byte("precious"), 0o600))
	must(t, os.Symlink(live, link))
	for path, want := range map[string]string{
		live: "another program listens on ", file: "is not a socket", link: "is not a socket", dir: "is not a socket",
		filepath.Join(dir, "none", "s"): "there is no directory ",
	} {
		if _, err := listen(t, path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	for _, path := range []string{live, file, link} {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestAPrivateSocketLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	p, err := ListenPrivately()
	must(t, err)
	dir, err := os.Stat(filepath.Dir(p.Path()))
	must(t, err)
	if got := dir.Mode().Perm(); got != 0o700 {
		t.Errorf("the directory has mode %v", got)
	}
	must(t, p.Close())
	if left, err := os.ReadDir(os.TempDir()); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestNoPlaceForAPrivateSocket(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
	if _, err := ListenPrivately(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "set TMPDIR") {
		t.Error(err)
	}
}

// wire returns a Stdio of two pipes, and the client's ends of them.
func wire(t *testing.T) (s *Stdio, toUs, fromUs *os.File) {
	t.Helper()
	in, toUs, err := os.Pipe()
	must(t, err)
	fromUs, out, err := os.Pipe()
	must(t, err)
	s = &Stdio{in: in, out: out}
	t.Cleanup(func() {
		s.Close()
		toUs.Close()
		fromUs.Close()
	})
	return s, toUs, fromUs
}

func TestAReadOfStdioEndsAtItsDeadline(t *testing.T) {
	s, _, _ := wire(t)
	must(t, s.SetDeadline(time.Now().Add(10*time.Millisecond)))
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

func TestAReadOfStdioEndsWhenItIsClosed(t *testing.T) {
	s, _, _ := wire(t)
	time.AfterFunc(10*time.Millisecond, func() { s.Close() })
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}

func TestFilesForStdioNeedNoDeadlines(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	must(t, err)
	s := &Stdio{in: f, out: f}
	defer f.Close()
	must(t, s.SetDeadline(time.Now()))
}

// TestAClientIsKeptWaiting: gdb waits 2 s for each byte.
func TestAClientIsKeptWaiting(t *testing.T) {
	s, _, fromUs := wire(t)
	stop := s.KeepWaiting(func() { t.Error("the client is there") })
	must(t, fromUs.SetReadDeadline(time.Now().Add(2*time.Second)))
	got := make([]byte, 8)
	n, err := fromUs.Read(got)
	must(t, err)
	stop()
	if string(got[:n]) != "+" {
		t.Errorf("%q, want an acknowledgement", got[:n])
	}
}

func TestAClientThatDoesNotWaitIsMissed(t *testing.T) {
	s, _, fromUs := wire(t)
	must(t, fromUs.Close())
	gone := make(chan struct{})
	stop := s.KeepWaiting(func() { close(gone) })
	defer stop()
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Error("gone was not called")
	}
}
