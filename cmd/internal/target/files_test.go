package host

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/cmd/internal/kept"
	"physgdb/gdbstub"
	"physgdb/symbols/linux"
	"physgdb/test/memimage"
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
	must(t, err)
	p, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	must(t, err)
	if c, ok := f.(io.Closer); ok {
		must(t, c.Close())
	}
	return string(p)
}

func TestMachineFiles(t *testing.T) {
	r := newRig(t, 4)
	s := connect(t, r.attachWithVmlinux(t))
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
			t.Errorf("monitor files does not tell of %s", f.name)
		}
	}
}

func TestNoOtherFileIsServed(t *testing.T) {
	r := newRig(t, 4)
	s := connect(t, r.attachWithVmlinux(t))
	secret := r.path("vmlinux")
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
	s := connect(t, newRig(t, 4).attach(t, Options{}))
	for name, want := range map[string]string{
		"/dmesg": "--vmlinux", "/proc/kallsyms": "--vmlinux", "/proc/modules": "--vmlinux", "/proc/iomem": "iomem_resource",
		"/proc/cmdline": "saved_command_line",
	} {
		_, err := s.OpenFile(ctx, name)
		wantError(t, err, want)
		wantError(t, err, name)
		if errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: gdb would say that there is no such file", name)
		}
	}
}

// TestProcModules wants lines as kernels print them.
func TestProcModules(t *testing.T) {
	region := func(base, size uint64) []linux.ModuleRegion { return []linux.ModuleRegion{{Base: base, Size: size}} }
	const proprietary, outOfTree = 1 << 0, 1 << 12 // include/linux/panic.h
	for _, tc := range []struct {
		module *linux.Module
		want   string
	}{
		{&linux.Module{
			Name: "virtio", Refs: 2, UsedBy: []string{"virtio_net", "virtio_pci"}, Regions: region(0xffffffffc03ee000, 20480)},
			"virtio 20480 2 virtio_net,virtio_pci, Live 0xffffffffc03ee000"},
		{&linux.Module{Name: "physgdb", Taint: outOfTree, Regions: region(0xffffffffc0414000, 16384)},
			"physgdb 16384 0 - Live 0xffffffffc0414000 (O)"},
		{&linux.Module{Name: "stays", Refs: 1, Permanent: true, UsedBy: []string{"a"}},
			"stays 0 1 a,[permanent], Live 0x0000000000000000"},
		{&linux.Module{Name: "goes", Refs: -1, State: linux.ModuleGoing, Taint: proprietary},
			"goes 0 -1 - Unloading 0x0000000000000000 (P-)"},
		{&linux.Module{Name: "comes", Refs: 1, State: linux.ModuleComing}, "comes 0 1 - Loading 0x0000000000000000 (+)"},
	} {
		if diff := cmp.Diff(tc.want, procModule(tc.module)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// TestOpenFilesHoldLittleMemory opens a list of mappings until it is refused, and again after one was closed.
func TestOpenFilesHoldLittleMemory(t *testing.T) {
	r := newRig(t, 4)
	s := connect(t, r.attachWithVmlinux(t))
	content := make([]byte, maxHeld/4)
	var files []gdbstub.File
	for range 4 {
		f, err := s.hold("/proc/1/maps", content)
		must(t, err)
		files = append(files, f)
	}
	if _, err := s.hold("/proc/1/maps", content[:1]); err == nil || !strings.Contains(err.Error(), "close one first") {
		t.Errorf("more than may be held: %v", err)
	}
	must(t, files[1].(io.Closer).Close())
	if _, err := s.hold("/proc/1/maps", content); err != nil {
		t.Error(err)
	}
}

// TestFileOnDiskIsNotMixed reads a file that was replaced after it was opened.
func TestFileOnDiskIsNotMixed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.ko")
	must(t, os.WriteFile(path, []byte("old content"), 0o600))
	f, err := openOnDisk(path)
	must(t, err)
	p := make([]byte, 3)
	if _, err := f.ReadAt(p, 4); err != nil || string(p) != "con" {
		t.Errorf("%q, %v", p, err)
	}
	must(t, kept.WriteFile(path, strings.NewReader("new content")))
	if _, err := f.ReadAt(p, 4); err == nil || !strings.Contains(err.Error(), "changed since") {
		t.Errorf("a replaced file is read: %v", err)
	}
}

func TestSpoolMakesEachFileOnce(t *testing.T) {
	s := newSpool()
	made := 0
	make := func(content string) func() (gdbstub.File, error) {
		return func() (gdbstub.File, error) {
			made++
			return strings.NewReader(content), nil
		}
	}
	for _, want := range []string{"one", "a longer one", "one"} {
		f, err := s.open(t.Context(), want, make(want))
		must(t, err)
		p, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		if err != nil || string(p) != want {
			t.Errorf("%q, %v; want %q", p, err, want)
		}
	}
	if made != 2 {
		t.Errorf("%d files were made of 2", made)
	}
	torn := errors.New("torn")
	if _, err := s.open(t.Context(), "torn", func() (gdbstub.File, error) { return nil, torn }); !errors.Is(err, torn) {
		t.Errorf("a file that cannot be made: %v", err)
	}
	must(t, s.close())
}
