package hostile

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestForgedNotices reads forged files of notices.
func TestForgedNotices(t *testing.T) {
	physgdb := build(t)
	panicked := `{"physgdb":1,"event":"panic","seq":1,"cpu":0,"pid":1,"comm":"evil","msg":"%s","cr3":"%s"}` + "\n"
	for _, tc := range []struct{ name, content, says string }{
		{"a long line", strings.Repeat("A", 360_063) + "\n" + fmt.Sprintf(panicked, "true", "0x0"), "line=1"},
		{"a root outside RAM", fmt.Sprintf(panicked, "x", "0xffffffffff000"), ""},
		{"escapes", fmt.Sprintf(panicked, `\u001b]0;owned\u0007\u009b2J\u202e`, "0x0"), ""},
		{"a million lines", strings.Repeat("{}\n", 1<<20), ""},
		{"no line feed", strings.Repeat("x", 8<<20), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			forEachImage(t, func(t *testing.T, image string) {
				dir := t.TempDir()
				notices := filepath.Join(dir, "notices.jsonl")
				if err := os.WriteFile(notices, []byte(tc.content), 0o600); err != nil {
					t.Fatal(err)
				}
				o := run(t, dir, physgdb, []string{"info", "--notify", notices}, image)
				if !strings.Contains(o.Stderr, tc.says) {
					t.Errorf("status %d, says %.300q, want %q", o.Status, o.Stderr, tc.says)
				}
			})
		})
	}
}

// TestIdleAndInvalidClients checks that a debugger is still served by a server with more idle
// clients than it accepts, and after a browser's requests.
func TestIdleAndInvalidClients(t *testing.T) {
	physgdb := build(t)
	forEachImage(t, func(t *testing.T, image string) {
		s, err := Serve(t.Context(), t.TempDir(), physgdb, image)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Stop()
		const idle = 200
		for range idle {
			conn, err := net.Dial("tcp", s.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		for _, beginning := range []string{"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n$qRcmd,696e666f#b6", "GET /$?#3f HTTP/1.1\r\n", "\x16\x03\x01\x02\x00$?#3f"} {
			if got := request(t, s.address, beginning); strings.Contains(got, "$") {
				t.Errorf("%.20q is answered: %q", beginning, got)
			}
		}
		slowest, what, err := s.Debug(t.Context())
		if err != nil || slowest > MaxAnswer || s.Watch.Peak() > MaxMemory {
			t.Errorf("with %d idle clients: %v for %s, %d MB, %v", idle, slowest, what, s.Watch.Peak()>>20, err)
		}
	})
}

// request sends data that no debugger sends and returns the answer until the connection is closed.
func request(t *testing.T, address, beginning string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(MaxAnswer))
	_, _ = io.WriteString(conn, beginning) // the connection may be closed already
	answer, err := io.ReadAll(io.LimitReader(conn, 1<<16))
	if err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("%.20q: the connection stays open", beginning)
	}
	return string(answer)
}

// TestWrittenMemoryIsPrivate checks that other users cannot read files with memory.
func TestWrittenMemoryIsPrivate(t *testing.T) {
	physgdb := build(t)
	forEachImage(t, func(t *testing.T, image string) {
		dir := t.TempDir()
		run(t, dir, physgdb, []string{"read", "--phys", "0x100000", "4096", "-o", "bytes"}, image)
		run(t, dir, physgdb, []string{"symbols", "-o", "made", "--modules-to", "modules"}, image)
		files := 0
		if err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			if err == nil && info.Mode().IsRegular() {
				if files++; info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s has mode %v", path, info.Mode())
				}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if files < 3 {
			t.Errorf("only %d files were written", files)
		}
	})
}

// TestIrregularFiles opens FIFOs, devices and directories. No command waits for them.
func TestIrregularFiles(t *testing.T) {
	physgdb := build(t)
	dir := t.TempDir()
	fifo, directory, large := filepath.Join(dir, "fifo"), filepath.Join(dir, "directory"), filepath.Join(dir, "large")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 8<<40); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{fifo, directory, "/dev/zero", "/dev/tty", large} {
		o := run(t, dir, physgdb, []string{"info"}, source)
		if o.Status != 1 || o.Stderr == "" {
			t.Errorf("info %s: status %d, %q", source, o.Status, o.Stderr)
		}
	}
	forEachImage(t, func(t *testing.T, image string) {
		for _, path := range []string{fifo, directory, "/dev/zero"} {
			for _, option := range []string{"--vmlinux", "--ram", "--notify"} {
				o := run(t, dir, physgdb, []string{"info", option, path}, image)
				if o.Status != 1 || o.Stderr == "" {
					t.Errorf("info %s %s: status %d, %q", option, path, o.Status, o.Stderr)
				}
			}
		}
	})
}
