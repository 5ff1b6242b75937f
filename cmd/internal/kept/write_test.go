package kept

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWriteFileReplacesRegularFiles(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	must(t, WriteFile(file, strings.NewReader("first, and longer")))
	must(t, WriteFile(file, strings.NewReader("second")))
	got, err := os.ReadFile(file)
	if string(got) != "second" || err != nil {
		t.Errorf("the file holds %q, %v", got, err)
	}

	must(t, unix.Mkfifo(pipe, 0o600))
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0) // open at both ends, so that no call waits
	must(t, err)
	defer reader.Close()
	must(t, WriteFile(pipe, strings.NewReader("through")))
	if info, err := os.Lstat(pipe); err != nil || info.Mode().Type() != fs.ModeNamedPipe {
		t.Fatalf("the pipe was replaced: %v, %v", info, err)
	}
	said := make([]byte, 16)
	if n, err := reader.Read(said); string(said[:n]) != "through" || err != nil {
		t.Errorf("through the pipe came %q, %v", said[:n], err)
	}

	wantError(t, WriteFile(dir, strings.NewReader("x")), "write "+dir+": is a directory")
	none := filepath.Join(dir, "none", "x")
	wantError(t, WriteFile(none, strings.NewReader("x")), "write "+none+": no such file or directory")
	if left, err := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) > 0 || err != nil {
		t.Errorf("left: %q, %v", left, err)
	}
}
