package guest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// cacheDir returns the directory of kernels: physgdb-test in the user's cache directory.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w; set XDG_CACHE_HOME or HOME", err)
	}
	dir := filepath.Join(base, "physgdb-test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("create the cache directory: %w", err)
	}
	return dir, nil
}

// lock waits until no other process holds the lock file. The result releases the lock.
func lock(ctx context.Context, path string, log hclog.Logger) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for reported := false; ; reported = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !reported {
			log.Info("waiting for another process", "lock", path)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("wait for lock %s: %w", path, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// create makes a complete directory appear at path atomically: fill works in the same parent, under
// another name. Leftovers of a killed process are removed; the caller holds the lock.
func create(path string, fill func(dir string) error) error { return createPart(path, ".", fill) }

// createFile is create for a file alone: fill makes it under its own name, possibly with other
// files.
func createFile(path string, fill func(dir string) error) error {
	return createPart(path, filepath.Base(path), fill)
}

func createPart(path, part string, fill func(dir string) error) error {
	dir := filepath.Join(filepath.Dir(path), ".new-"+filepath.Base(path))
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	if err := fill(dir); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, part), path); err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	return nil
}

// fingerprint returns a hash of names and contents of files, so that results made from them can be
// distinguished from what will be.
func fingerprint(files ...string) (string, error) {
	sum := sha256.New()
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("hash %s: %w", file, err)
		}
		fmt.Fprintf(sum, "%s %d\n", filepath.Base(file), len(data))
		sum.Write(data)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
