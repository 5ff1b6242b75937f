package symbols

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOnlyRegularFilesAreOpened: to open a FIFO for reading blocks until there is a writer, and /dev/zero never ends.
func TestOnlyRegularFilesAreOpened(t *testing.T) {
	dir := t.TempDir()
	fifo, zero := filepath.Join(dir, "fifo"), filepath.Join(dir, "zero")
	if err := errors.Join(unix.Mkfifo(fifo, 0o600), os.Symlink("/dev/zero", zero)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, zero, dir} {
		for name, open := range map[string]func(string) error{

			"Open":       func(p string) error { _, err := Open(p); return err },
			"ReadRawBTF": func(p string) error { _, err := ReadRawBTF(p); return err },
			"mapFile":    func(p string) error { _, err := mapFile(p); return err },
		} {
			if err := open(path); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s(%s): %v", name, filepath.Base(path), err)
			}
		}
	}
}
