package debugger

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// install makes an executable of a shell script and returns its path.
func install(t *testing.T, dir, name, script string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDebuggersAreFound(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":/no/such/directory")
	for _, name := range []string{"lldb-9", "lldb-19", "lldb-server-20", "lldb-vscode-14"} {
		install(t, dir, name, "")
	}
	if err := os.WriteFile(filepath.Join(dir, "lldb-21"), nil, 0o644); err != nil { // cannot be run
		t.Fatal(err)
	}
	mine := install(t, dir, "mygdb", "")
	for _, tc := range []struct {
		name, want, wrong string
		find              func() (*Debugger, error)
	}{
		{"no gdb", "", "gdb not found: install it (apt-get install gdb), or", func() (*Debugger, error) { return GDB("") }},
		{"a gdb by its path", mine, "", func() (*Debugger, error) { return GDB(mine) }},
		{"a gdb by its name", mine, "", func() (*Debugger, error) { return GDB("mygdb") }},
		{"a gdb that is not there", "", "/x/gdb not found: --gdb wants", func() (*Debugger, error) { return GDB("/x/gdb") }},
		{"a gdb that cannot be run", "", "cannot be started: --gdb wants", func() (*Debugger, error) { return GDB(dir + "/lldb-21") }},
		{"the newest lldb", filepath.Join(dir, "lldb-19"), "", LLDB},
	} {
		d, err := tc.find()
		switch {
		case tc.wrong != "":
			if err == nil || !strings.Contains(err.Error(), tc.wrong) {
				t.Errorf("%s: %v, want %q", tc.name, err, tc.wrong)
			}
		case err != nil || d.path != tc.want:
			t.Errorf("%s: %v, %v, want %s", tc.name, d, err, tc.want)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := LLDB(); err == nil || !strings.Contains(err.Error(), "lldb not found: install it") {
		t.Error(err)
	}
}

// TestTheUsersWordsComeLast: by then the machine is attached, and the user has the last word.
func TestTheUsersWordsComeLast(t *testing.T) {
	s := &Session{Socket: "/s", Vmlinux: "/v", Modules: []string{"/a b", "/c"}, Args: []string{"-batch", "-ex", "bt"}}
	want := []string{"-q", "-iex", "set index-cache enabled on", "-se", "/v", "-ex", "set index-cache enabled off",
		"-ex", "set pagination off", "-ex", "set confirm off", "-ex", "set remotetimeout 30",
		"-ex", "set solib-search-path /a b:/c", "-ex", "target remote /s", "-batch", "-ex", "bt"}
	if diff := cmp.Diff(want, gdbArguments(s)); diff != "" {
		t.Error(diff)
	}
	s.ModuleFiles = []string{"/m/a.ko"}
	words := lldbArguments(s)
	connect := slices.Index(words, "process connect --plugin gdb-remote unix-connect:///s")
	search := slices.Index(words, `settings append target.exec-search-paths "/a b"`)
	load := slices.Index(words, `target modules load --slide 0 --file "a.ko"`)
	if search < 0 || connect < search || load < connect || slices.Index(words, "-batch") < load {
		t.Errorf("%q", words)
	}
}

func TestWithoutAMainFile(t *testing.T) {
	for _, words := range [][]string{gdbArguments(&Session{Socket: "/s"}), lldbArguments(&Session{Socket: "/s"})} {
		if slices.Contains(words, "-se") || slices.Contains(words, "--file") {
			t.Errorf("%q", words)
		}
	}
}

// TestExitStatus: also of a debugger that sends its foreground group the signal of Ctrl-C, as a
// terminal does.
func TestExitStatus(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		name, script string
		want         int
	}{
		{"all is well", "exit 0", 0},
		{"it has its own", "exit 7", 7},
		{"it died of a signal", "kill -9 $$", 128 + int(syscall.SIGKILL)},
		{"Ctrl-C and Ctrl-\\ are its own", "kill -INT $PPID; kill -QUIT $PPID; exit 0", 0},
		{"Ctrl-C is not ignored in it", "kill -INT $$; exit 1", 128 + int(syscall.SIGINT)},
	} {
		d, err := GDB(install(t, dir, "gdb", tc.script))
		if err != nil {
			t.Fatal(err)
		}
		err = d.Run(t.Context(), &Session{})
		var exit *ExitError
		switch {
		case errors.As(err, &exit) && exit.Status == tc.want:
		case err == nil && tc.want == 0:
		default:
			t.Errorf("%s: %v, want status %d", tc.name, err, tc.want)
		}
	}
}
