package target

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"physgdb/cmd/internal/kept"
	"physgdb/cmd/internal/machine"
	"physgdb/gdbstub"
	"physgdb/test/memimage"
	"physgdb/test/rig"
)

func TestSessionServesWhatLLDBAndPwndbgAskFor(t *testing.T) {
	var s any = (*session)(nil)
	_, lists := s.(gdbstub.RegionLister)
	_, switches := s.(gdbstub.PhysicalSwitcher)
	_, files := s.(gdbstub.FileServer)
	if !lists || !switches || !files {
		t.Error("an ability is lost: ", lists, switches, files)
	}
}

// content reads a file of the machine's.
func content(t *testing.T, s *session, name string) string {
	t.Helper()
	f, err := s.OpenFile(ctx, name)
	rig.Must(t, err)
	p, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	rig.Must(t, err)
	if c, ok := f.(io.Closer); ok {
		rig.Must(t, c.Close())
	}
	return string(p)
}

func TestMachineFiles(t *testing.T) {
	r := rig.New(t, 4)
	s := connect(t, attachWithVmlinux(t, r))
	if got := content(t, s, "/proc/version"); got != memimage.Banner {
		t.Errorf("/proc/version is %q", got)
	}
	for _, want := range []string{"ffffffff9d000000 ", " t panic\n", "0000000000035e80 A runqueues\n"} {
		if got := content(t, s, "/proc/kallsyms"); !strings.Contains(got, want) {
			t.Errorf("no %q in /proc/kallsyms:\n%s", want, got)
		}
	}
	if s.contents["/proc/version"] == nil || s.contents["/proc/kallsyms"] != nil {
		t.Error("what is whole is not kept, or what lacks the modules is")
	}
	listed := s.monitor(t, "files")
	for _, f := range machineFiles() {
		if !strings.Contains(listed, f.name+" ") {
			t.Errorf("monitor files does not list %s", f.name)
		}
	}
}

func TestNoOtherFileIsServed(t *testing.T) {
	r := rig.New(t, 4)
	s := connect(t, attachWithVmlinux(t, r))
	secret := r.Path("vmlinux")
	for _, name := range []string{secret, "/etc/passwd", "just probing", "", "/", "/proc", "/proc/kallsyms/", "../proc/version",
		"/proc/self/environ", "/proc/../etc/passwd"} {
		if _, err := s.OpenFile(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
	}
	s.files = map[string]fileOpener{ // as if it were that of a module
		secret: func(context.Context) (gdbstub.File, error) { return openOnDisk(secret) },
	}
	if got := content(t, s, secret); !strings.HasPrefix(got, "\x7fELF") {
		t.Errorf("the file of a module begins with %.8q", got)
	}
	for _, name := range []string{secret + "/", filepath.Dir(secret) + "/./vmlinux", filepath.Dir(secret)} {
		if _, err := s.OpenFile(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestFilesThatCannotBeMadeSayWhy(t *testing.T) {
	s := connect(t, attach(t, rig.New(t, 4), machine.Options{}))
	for name, want := range map[string]string{
		"/dmesg": "--vmlinux", "/proc/kallsyms": "--vmlinux", "/proc/modules": "--vmlinux", "/proc/iomem": "iomem_resource",
		"/proc/cmdline": "saved_command_line",
	} {
		_, err := s.OpenFile(ctx, name)
		rig.WantError(t, err, want)
		rig.WantError(t, err, name)
		if errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: gdb would say that there is no such file", name)
		}
	}
}

// TestOpenFilesHoldLittleMemory opens a list of mappings until it is refused, and again after one
// was closed.
func TestOpenFilesHoldLittleMemory(t *testing.T) {
	r := rig.New(t, 4)
	s := connect(t, attachWithVmlinux(t, r))
	content := make([]byte, maxHeld/4)
	var files []gdbstub.File
	for range 4 {
		f, err := s.hold("/proc/1/maps", content)
		rig.Must(t, err)
		files = append(files, f)
	}
	if _, err := s.hold("/proc/1/maps", content[:1]); err == nil || !strings.Contains(err.Error(), "close one first") {
		t.Errorf("more than may be held: %v", err)
	}
	rig.Must(t, files[1].(io.Closer).Close())
	if _, err := s.hold("/proc/1/maps", content); err != nil {
		t.Error(err)
	}
}

// TestFileOnDiskIsNotMixed reads a file that was replaced after it was opened.
func TestFileOnDiskIsNotMixed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.ko")
	rig.Must(t, os.WriteFile(path, []byte("old content"), 0o600))
	f, err := openOnDisk(path)
	rig.Must(t, err)
	p := make([]byte, 3)
	if _, err := f.ReadAt(p, 4); err != nil || string(p) != "con" {
		t.Errorf("%q, %v", p, err)
	}
	rig.Must(t, kept.WriteFile(path, strings.NewReader("new content")))
	if _, err := f.ReadAt(p, 4); err == nil || !strings.Contains(err.Error(), "changed since") {
		t.Errorf("a replaced file is read: %v", err)
	}
}
