package symbols

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// onVmlinux runs a test on every kernel of Debian in the test rig's cache.
func onVmlinux(t *testing.T, test func(t *testing.T, path string)) {
	for _, path := range vmlinuxes(t) {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) { test(t, path) })
	}
}

func vmlinuxes(t testing.TB) []string {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	paths, _ := filepath.Glob(filepath.Join(cache, "physgdb-test", "[0-9]*", "vmlinux"))
	if len(paths) == 0 {
		t.Skip("the cache of the test rig has no vmlinux")
	}
	return paths
}

// isRust reports whether a linkage name is that of a function of Rust (the v0 mangling of RFC 2603).
func isRust(name string) bool { return strings.HasPrefix(name, "_R") }

// compile makes a file of C by gcc.
func compile(t testing.TB, source string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	tool(t, source, "gcc", append(flags, "-x", "c", "-o", out, "-")...)
	return out
}

// tool runs a program and returns what it printed.
func tool(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, &errs)
	}
	return string(out)
}

// dice are the same in every run.
func dice() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }
