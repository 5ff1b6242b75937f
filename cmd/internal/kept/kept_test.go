package kept

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func put(t *testing.T, s *Store, key, content string) *Entry {
	t.Helper()
	e, err := s.Put(Kernels, key, "vmlinux", strings.NewReader(content), map[string]string{"of": key})
	must(t, err)
	return e
}

// age makes a file look as if it was last used some time ago.
func age(t *testing.T, path string, by time.Duration) {
	t.Helper()
	then := time.Now().Add(-by)
	must(t, os.Chtimes(path, then, then))
}

func keys(s *Store) (all []string) {
	for _, e := range s.Entries() {
		all = append(all, filepath.Base(filepath.Dir(e.Path)))
	}
	return all
}

func TestPutAndUse(t *testing.T) {
	s := &Store{Dir: t.TempDir(), Limit: 1 << 20}
	put(t, s, "a", "one")
	put(t, s, "a", "another") // in its place
	e, err := s.Get(Kernels, "a", "vmlinux")
	must(t, err)
	if string(e.About) != `{"of":"a"}` || e.Size != 7 {
		t.Errorf("%+v", e)
	}
	release, err := e.Use()
	must(t, err)
	defer release()
	if got, err := os.ReadFile(e.Path); string(got) != "another" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, path := range []string{e.Path, e.Path + aboutSuffix} {
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if _, err := s.Get(Kernels, "b", "vmlinux"); !os.IsNotExist(err) {
		t.Errorf("a file that was not stored: %v", err)
	}
}

// TestDamagedFiles has files that are not what was stored, as after a loss of power or by a disk
// that fails. None is used, and none blocks.
func TestDamagedFiles(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1024)
	for name, damage := range map[string]func(path string) error{
		"a bit": func(path string) error {
			wrong := bytes.Clone(content)
			wrong[8000] ^= 4
			return os.WriteFile(path, wrong, 0o600)
		},
		"a page of zeros": func(path string) error {
			wrong := bytes.Clone(content)
			clear(wrong[4096:8192])
			return os.WriteFile(path, wrong, 0o600)
		},
		"cut":            func(path string) error { return os.Truncate(path, 4096) },
		"empty":          func(path string) error { return os.Truncate(path, 0) },
		"longer":         func(path string) error { return os.Truncate(path, 1<<20) },
		"gone":           os.Remove,
		"a FIFO":         func(path string) error { return replace(path, func() error { return unix.Mkfifo(path, 0o600) }) },
		"a directory":    func(path string) error { return replace(path, func() error { return os.Mkdir(path, 0o700) }) },
		"a device":       func(path string) error { return replace(path, func() error { return os.Symlink("/dev/zero", path) }) },
		"no description": func(path string) error { return os.Remove(path + aboutSuffix) },
		"a description that is a FIFO": func(path string) error {
			return replace(path+aboutSuffix, func() error { return unix.Mkfifo(path+aboutSuffix, 0o600) })
		},
		"a description that is damaged": func(path string) error { return os.WriteFile(path+aboutSuffix, []byte(`{"size":`), 0o600) },
		"a description that never ends": func(path string) error {
			return replace(path+aboutSuffix, func() error { return os.Symlink("/dev/zero", path+aboutSuffix) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Store{Dir: t.TempDir(), Limit: 1 << 20}
			e := put(t, s, "a", string(content))
			must(t, damage(e.Path))
			for _, found := range s.Entries() {
				if release, err := found.Use(); err == nil {
					release()
					t.Error("it is used")
				}
			}
			if name == "a directory" {
				return // which cannot be replaced
			}
			again := put(t, s, "a", string(content))
			if release, err := again.Use(); err != nil {
				t.Errorf("stored again: %v", err)
			} else {
				release()
			}
		})
	}
}

func replace(path string, create func() error) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return create()
}

func TestLimit(t *testing.T) {
	s := &Store{Dir: t.TempDir(), Limit: 250}
	content := strings.Repeat("x", 100)
	for i, key := range []string{"oldest", "used", "old"} {
		s.Limit = 1000
		age(t, put(t, s, key, content).Path+aboutSuffix, time.Duration(10-i)*time.Hour)
	}
	s.Limit = 250
	e, err := s.Get(Kernels, "used", "vmlinux")
	must(t, err)
	release, err := e.Use()
	must(t, err)
	if e, err = s.Get(Kernels, "used", "vmlinux"); err != nil || time.Since(e.Used) > time.Hour {
		t.Errorf("last used %v, %v", e.Used, err)
	}
	age(t, e.Path+aboutSuffix, time.Minute)
	put(t, s, "new", content)
	if got := strings.Join(keys(s), " "); got != "new used" {
		t.Errorf("left: %s", got)
	}

	age(t, e.Path+aboutSuffix, time.Hour)
	put(t, s, "newer", content) // the one in use is the oldest, and stays
	if got := strings.Join(keys(s), " "); got != "newer used" {
		t.Errorf("left: %s", got)
	}
	if _, _, err := s.Clear(); err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("a file in use was removed: %v", err)
	}
	release()
	if files, size, err := s.Clear(); files != 1 || size != 100 || err != nil {
		t.Errorf("removed %d files, %d bytes, %v", files, size, err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.Dir, "*", "*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}

	put(t, s, "larger than the limit", strings.Repeat("x", 300))
	if got := keys(s); len(got) != 1 {
		t.Errorf("what was stored last is gone: %q", got)
	}
}

// TestStaleFiles: what killed processes and older versions left is removed when something is
// stored; what is being written by another process is not.
func TestStaleFiles(t *testing.T) {
	s := &Store{Dir: t.TempDir(), Limit: 1 << 20}
	put(t, s, "a", "content")
	file := func(name string, old bool) string {
		path := filepath.Join(s.Dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte("half of it"), 0o600))
		if old {
			age(t, path, 2*staleAfter)
		}
		return path
	}
	gone := []string{
		file("kernels-5/cafe/vmlinux", false), file("modules/cafe/nfs.ko", false),
		file("kernels-6/a/.new-1", true), file("kernels-6/b/vmlinux", true), file("kernels-6/c/vmlinux.json", true),
	}
	stay := []string{
		file("kernels-6/a/.new-2", false), file("kernels-6/d/vmlinux", false), file("other/file", true),
		filepath.Join(s.Dir, "kernels-6/a/vmlinux"), filepath.Join(s.Dir, "kernels-6/a/vmlinux.json"),
	}
	age(t, stay[3], 2*staleAfter)
	age(t, stay[4], 2*staleAfter)
	put(t, s, "new", "content")
	for _, path := range gone {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	for _, path := range stay {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
}

// TestAFileInUseStaysTheSame: debuggers read a kept file bit by bit, and take it for another one if
// its inode or time changes.
func TestAFileInUseStaysTheSame(t *testing.T) {
	s := &Store{Dir: t.TempDir(), Limit: 1 << 20}
	e := put(t, s, "a", "content")
	age(t, e.Path, time.Hour)
	before, err := os.Stat(e.Path)
	must(t, err)
	release, err := e.Use()
	must(t, err)
	defer release()
	put(t, s, "a", "content") // by another process that has made the same
	now, err := os.Stat(e.Path)
	must(t, err)
	if !os.SameFile(before, now) || !now.ModTime().Equal(before.ModTime()) {
		t.Errorf("the file has changed: %v, was %v", now, before)
	}
}
