package regular

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOnlyRegularFilesAreOpened: to open a FIFO for reading blocks until there is a writer, and
// /dev/zero never ends.
func TestOnlyRegularFilesAreOpened(t *testing.T) {
	dir := t.TempDir()
	fifo, zero, good := filepath.Join(dir, "fifo"), filepath.Join(dir, "zero"), filepath.Join(dir, "good")
	if err := errors.Join(unix.Mkfifo(fifo, 0o600), os.Symlink("/dev/zero", zero), os.WriteFile(good, []byte("content"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, zero, dir} {
		if _, err := ReadFile(path); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
	}
	if text, err := ReadFile(good); string(text) != "content" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}
