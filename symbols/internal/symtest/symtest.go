// Package symtest has what tests of the formats of symbols share: a compiler, other tools, and the
// vmlinux files of the test rig.
package symtest

import (
	"debug/elf"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// OnVmlinux runs a test on every kernel of Debian in the test rig's cache.
func OnVmlinux(t *testing.T, test func(t *testing.T, path string)) {
	for _, path := range Vmlinuxes(t) {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) { test(t, path) })
	}
}

func Vmlinuxes(t testing.TB) []string {
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

// IsRust reports whether a linkage name is that of a function of Rust (the v0 mangling of RFC
// 2603).
func IsRust(name string) bool { return strings.HasPrefix(name, "_R") }

// Compile makes a file of C by gcc.
func Compile(t testing.TB, source string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	Tool(t, source, "gcc", append(flags, "-x", "c", "-o", out, "-")...)
	return out
}

// Tool runs a program and returns what it printed.
func Tool(t testing.TB, stdin, name string, args ...string) string {
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

// Dice are the same in every run.
func Dice() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// Read opens an ELF file and returns what from reads of it.
func Read[T any](path string, from func(*elf.File) (T, error)) (v T, err error) {
	f, err := elf.Open(path)
	if err != nil {
		return v, err
	}
	defer f.Close()
	return from(f)
}

// Symbols returns the symbols of an ELF file by their names.
func Symbols(f *elf.File) (map[string]elf.Symbol, error) {
	all, err := f.Symbols()
	byName := map[string]elf.Symbol{}
	for _, s := range all {
		byName[s.Name] = s
	}
	return byName, err
}
