package guest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestLockIsExclusive(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), file, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, file, hclog.NewNullLogger()); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("second lock: got error %v, want %v", err, context.DeadlineExceeded)
	}
	unlock()
	again, err := lock(t.Context(), file, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestCreateIsAtomic(t *testing.T) {
	home := filepath.Join(t.TempDir(), "kernel")
	failure := errors.New("the line is dead")
	fill := func(dir string) error { return os.WriteFile(filepath.Join(dir, "vmlinux"), nil, 0o644) }
	err := create(home, func(dir string) error { return errors.Join(fill(dir), failure) })
	if !errors.Is(err, failure) || exists(home) {
		t.Fatalf("got error %v and a directory: %v; want %v and none", err, exists(home), failure)
	}
	// Leftovers of a killed process must not be part of the next result.
	stale := filepath.Join(filepath.Dir(home), ".new-kernel")
	if err := os.MkdirAll(filepath.Join(stale, "debs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := create(home, fill); err != nil {
		t.Fatal(err)
	}
	if !exists(filepath.Join(home, "vmlinux")) || exists(filepath.Join(home, "debs")) || exists(stale) {
		t.Error("unexpected content")
	}
}

func TestCreateFileKeepsExisting(t *testing.T) {
	file := filepath.Join(t.TempDir(), "vmlinux")
	failure := errors.New("the line is dead")
	fill := func(dir string) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "vmlinux"), []byte("ELF"), 0o644),
			os.WriteFile(filepath.Join(dir, "its.deb"), nil, 0o644))
	}
	err := createFile(file, func(dir string) error { return errors.Join(fill(dir), failure) })
	if !errors.Is(err, failure) || exists(file) {
		t.Fatalf("got error %v and a file: %v; want %v and none", err, exists(file), failure)
	}
	if err := createFile(file, fill); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	others, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "*"))
	hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".new*"))
	if string(content) != "ELF" || err != nil || len(others) != 1 || len(hidden) != 0 {
		t.Errorf("got %q, %v, among %q and %q", content, err, others, hidden)
	}
}

// TestKernelIsComplete checks every stage of a kernel's directory.
func TestKernelIsComplete(t *testing.T) {
	p := &packages{Version: "6.1.192-2", Debug: deb{Name: "linux-image-dbg"}}
	bare, full := &chooser{cache: t.TempDir(), Wanted: Wanted{NoDebug: true, Flavour: "cloud"}}, &chooser{Wanted: Wanted{Flavour: "cloud"}}
	full.cache = bare.cache
	check := func(stage string, wantBare, wantFull bool) {
		t.Helper()
		if bare.has(p) != wantBare || full.has(p) != wantFull {
			t.Errorf("%s: enough without debug %v, with %v; want %v, %v", stage, bare.has(p), full.has(p), wantBare, wantFull)
		}
	}
	check("empty cache", false, false)
	if err := os.Mkdir(bare.home(p), 0o755); err != nil {
		t.Fatal(err)
	}
	check("prepared without debug", true, false)
	if err := os.WriteFile(bare.vmlinux(p), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	check("prepared with debug", true, true)
}
