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

func TestLockKeepsOthersOut(t *testing.T) {
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

func TestCreateMakesAllOrNothing(t *testing.T) {
	home := filepath.Join(t.TempDir(), "kernel")
	failure := errors.New("the line is dead")
	fill := func(dir string) error { return os.WriteFile(filepath.Join(dir, "vmlinux"), nil, 0o644) }
	err := create(home, func(dir string) error { return errors.Join(fill(dir), failure) })
	if !errors.Is(err, failure) || exists(home) {
		t.Fatalf("got error %v and a directory: %v; want %v and none", err, exists(home), failure)
	}
	// What a killed process leaves must not get into what is made next.
	stale := filepath.Join(filepath.Dir(home), ".new-kernel")
	if err := os.MkdirAll(filepath.Join(stale, "debs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := create(home, fill); err != nil {
		t.Fatal(err)
	}
	if !exists(filepath.Join(home, "vmlinux")) || exists(filepath.Join(home, "debs")) || exists(stale) {
		t.Error("not exactly what was to be made")
	}
}
