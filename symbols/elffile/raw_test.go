package elffile_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"physgdb/symbols/dwarf"
	"physgdb/symbols/elffile"
)

// TestOnlyRegularFilesAreRead: to open a FIFO for reading blocks until there is a writer, and
// /dev/zero never ends.
func TestOnlyRegularFilesAreRead(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func(string) error{
		"Open":            func(p string) error { _, err := elffile.Open(p); return err },
		"OpenRaw":         func(p string) error { _, err := elffile.OpenRaw(p); return err },
		"dwarf.OpenLines": func(p string) error { _, err := dwarf.OpenLines(p); return err },
	} {
		for _, path := range []string{fifo, "/dev/zero", t.TempDir()} {
			if err := open(path); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s(%s): %v", name, path, err)
			}
		}
	}
}
