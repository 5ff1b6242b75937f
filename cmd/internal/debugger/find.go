// Package debugger finds the user's own debugger, starts it on a stub, and gives it the terminal.
package debugger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Debugger is a debugger that is installed here.
type Debugger struct {
	path      string
	arguments func(*Session) []string
}

// GDB finds gdb, or the one that the user prefers: a path, or a name on PATH.
func GDB(preferred string) (*Debugger, error) {
	name, hint := "gdb", "install it (apt-get install gdb), or choose another one with --gdb PATH"
	if preferred != "" {
		name, hint = preferred, "--gdb wants the path of a gdb, or its name on PATH"
	}
	path, err := exec.LookPath(name)
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s not found: %s", name, hint)
	case err != nil:
		return nil, fmt.Errorf("%s cannot be started: %s", name, hint)
	}
	return &Debugger{path: path, arguments: gdbArguments}, nil
}

// LLDB finds lldb, or the newest of those that Debian calls lldb-14 and the like.
func LLDB() (*Debugger, error) {
	path, err := exec.LookPath("lldb")
	if err != nil {
		path = newestLLDB(filepath.SplitList(os.Getenv("PATH")))
	}
	if path == "" {
		return nil, errors.New("lldb not found: install it (apt-get install lldb), or leave out --lldb to use gdb")
	}
	return &Debugger{path: path, arguments: lldbArguments}, nil
}

// newestLLDB returns the path of the lldb-N with the highest N, or nothing.
func newestLLDB(dirs []string) string {
	best, newest := "", 0
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // PATH may name what is not there
		}
		for _, e := range entries {
			version, _ := strings.CutPrefix(e.Name(), "lldb-")
			n, err := strconv.Atoi(version)
			if err != nil || n <= newest {
				continue
			}
			if path, err := exec.LookPath(filepath.Join(dir, e.Name())); err == nil {
				best, newest = path, n
			}
		}
	}
	return best
}
