package session

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Step is a command typed into a debugger, and its result.
type Step struct {
	Command string
	Output  string
	Took    time.Duration
}

// marker separates steps in a debugger's output; in gdb's it is followed by the time.
const marker = "@@physgdb-step@@"

// IndexCache returns arguments that make gdb cache its index of a vmlinux in the directory of the
// test kernels. From the second time on, it reads the file in seconds instead of half a minute. Run
// [NoIndexCache] before modules are loaded.
func IndexCache() []string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil
	}
	return []string{"-iex", "set index-cache directory " + filepath.Join(cache, "physgdb-test", "gdb"), "-iex", "set index-cache enabled on"}
}

// NoIndexCache is the command that disables the cache. The index of a module is wrong after the
// module was loaded at another address.
const NoIndexCache = "set index-cache enabled off"

// GDB runs gdb with the file to debug, or "" for none, and types commands into it. It continues
// after the error of a command.
func GDB(ctx context.Context, file string, commands ...string) ([]Step, error) {
	args := append([]string{"-nx", "-batch", "-iex", "set auto-load no"}, IndexCache()...)
	for _, c := range []string{
		"set confirm off", "set pagination off", "set width 0", "set style enabled off",
	} {
		args = append(args, "-ex", c)
	}
	if file != "" {
		commands = append([]string{"file " + file}, commands...)
	}
	mark := "shell echo; date +" + marker + "%s.%N"
	for i, c := range commands {
		args = append(args, "-ex", mark, "-ex", c)
		if i == 0 && file != "" {
			args = append(args, "-ex", NoIndexCache)
		}
	}
	cmd := exec.CommandContext(ctx, "gdb", append(args, "-ex", mark)...)
	cmd.WaitDelay = time.Second // a child of gdb may hold its output open
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("gdb: %w\n%s", context.Cause(ctx), out)
	}
	steps, perr := parseSteps(commands, string(out))
	if perr != nil {
		return nil, fmt.Errorf("gdb: %w (%v)\n%s", perr, err, out)
	}
	return steps, nil
}

// parseSteps cuts gdb's output at the markers.
func parseSteps(commands []string, out string) ([]Step, error) {
	parts := strings.Split(out, marker)
	if len(parts) != len(commands)+2 {
		return nil, fmt.Errorf("%d of %d commands were executed", max(0, len(parts)-2), len(commands))
	}
	steps := make([]Step, len(commands))
	var before float64
	for i, part := range parts[1:] {
		stamp, text, _ := strings.Cut(part, "\n")
		now, err := strconv.ParseFloat(stamp, 64)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			steps[i-1].Took = time.Duration((now - before) * float64(time.Second))
		}
		if i < len(steps) {
			steps[i] = Step{Command: commands[i], Output: strings.TrimSpace(text)}
		}
		before = now
	}
	return steps, nil
}

// Find returns the output of the first step with that command.
func Find(steps []Step, command string) string {
	for _, s := range steps {
		if s.Command == command {
			return s.Output
		}
	}
	return ""
}

// Transcript returns steps as they would appear on a terminal.
func Transcript(steps []Step) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "(gdb) %s\n", s.Command)
		if s.Output != "" {
			fmt.Fprintln(&b, s.Output)
		}
	}
	return b.String()
}

// frame matches a line of a backtrace of gdb or lldb. gdb prints an address only for the innermost
// of functions inlined into one another, lldb for all.
var frame = regexp.MustCompile(`(?m)^(?:#\d+ +|[* ]+frame #\d+: )0x([0-9a-f]+)\b`)

// Frames returns the addresses of a backtrace, innermost first, without those of inlined functions
// if it is gdb's.
func Frames(bt string) []uint64 {
	var addrs []uint64
	for _, m := range frame.FindAllStringSubmatch(bt, -1) {
		if a, err := strconv.ParseUint(m[1], 16, 64); err == nil {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// Value returns the value in the output of print: the text after "$N = ".
func Value(output string) string {
	for line := range strings.Lines(output) {
		if rest, ok := strings.CutPrefix(line, "$"); ok {
			if _, v, ok := strings.Cut(rest, " = "); ok {
				return strings.TrimSpace(v)
			}
		}
	}
	return ""
}
