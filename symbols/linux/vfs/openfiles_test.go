package vfs

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"physgdb/symbols/linux"
	"physgdb/symbols/linux/kmem"
	"physgdb/test/kmemtest"
	"physgdb/test/linuxtest"
)

var ctx = context.Background()

// filesWorld is a kernel with a process whose files a test opens. Its tree is a root, with a file
// system mounted on /dev.
type filesWorld struct {
	*linuxtest.World
	task              *linux.Task
	fds               uint64 // the array of descriptors
	rootMount, onDev  uint64
	rootDir, dev, top uint64 // dentries: /, /dev below the mount, and the root of what is mounted there
}

func newFilesWorld(t *testing.T) *filesWorld {
	t.Helper()
	w := &filesWorld{World: linuxtest.New(t, nil, nil)}
	w.Structs.Define("files_struct", "fdt")
	w.Structs.Define("fdtable", "max_fds", 4, "fd")
	w.Structs.Define("file", "f_path.mnt", "f_path.dentry")
	w.Structs.Define("dentry", "d_parent", "d_name.len", 4, "d_name.name", "d_inode", "d_hash.pprev", "d_sb")
	w.Structs.Define("mount", "mnt_parent", "mnt_mountpoint", "mnt", "mnt.mnt_root")
	w.Structs.Define("inode", "i_ino")
	w.Structs.Define("super_block", "s_type")
	w.Structs.Define("file_system_type", "name")
	files, table := w.Alloc("files_struct", 0), w.Alloc("fdtable", 0)
	w.fds = w.Alloc("", 64)
	w.Set(files, "files_struct", "fdt", table)
	w.Set(table, "fdtable", "max_fds", 8)
	w.Set(table, "fdtable", "fd", w.fds)
	w.task = &linux.Task{PID: 5, Files: files}
	w.rootDir = w.dentry("/", 0)
	w.dev = w.dentry("dev", w.rootDir)
	w.top = w.dentry("/", 0)
	w.rootMount, w.onDev = w.Alloc("mount", 0), w.Alloc("mount", 0)
	w.mount(w.rootMount, w.rootDir, w.rootMount, w.rootDir)
	w.mount(w.onDev, w.top, w.rootMount, w.dev)
	return w
}

func (w *filesWorld) text(s string) uint64 {
	at := w.Alloc("", uint64(len(s)+16))
	copy(w.RAM[at-kmemtest.Base:], s)
	return at
}

// dentry makes a name in a directory, or one that is its own parent.
func (w *filesWorld) dentry(name string, parent uint64) uint64 {
	at := w.Alloc("dentry", 0)
	if parent == 0 {
		parent = at
	}
	w.Set(at, "dentry", "d_parent", parent)
	w.Set(at, "dentry", "d_name.len", uint64(len(name)))
	w.Set(at, "dentry", "d_name.name", w.text(name))
	w.Set(at, "dentry", "d_hash.pprev", 1)
	return at
}

func (w *filesWorld) mount(at, root, parent, point uint64) {
	w.Set(at, "mount", "mnt.mnt_root", root)
	w.Set(at, "mount", "mnt_parent", parent)
	w.Set(at, "mount", "mnt_mountpoint", point)
}

// placeless makes a dentry of a file system that is mounted nowhere.
func (w *filesWorld) placeless(name, fs string, inode uint64) uint64 {
	d, i, super, typ := w.dentry(name, 0), w.Alloc("inode", 0), w.Alloc("super_block", 0), w.Alloc("file_system_type", 0)
	w.Set(d, "dentry", "d_inode", i)
	w.Set(d, "dentry", "d_sb", super)
	w.Set(i, "inode", "i_ino", inode)
	w.Set(super, "super_block", "s_type", typ)
	w.Set(typ, "file_system_type", "name", w.text(fs))
	return d
}

// end is where the memory ends.
func (w *filesWorld) end() uint64 { return kmemtest.Base + uint64(len(w.RAM)) }

// open puts a file into a descriptor.
func (w *filesWorld) open(fd int, dentry, mount uint64) {
	file := w.Alloc("file", 0)
	w.Set(file, "file", "f_path.dentry", dentry)
	w.Set(file, "file", "f_path.mnt", mount+w.Structs["mount.mnt"].Offset)
	w.Put(w.fds+8*uint64(fd), file)
}

func TestOpenFiles(t *testing.T) {
	const wild = 0xdead000000000100
	for _, tc := range []struct {
		name   string
		open   func(w *filesWorld)
		want   string
		damage string // a part of it; "" for none
	}{
		{"none", func(*filesWorld) {}, "", ""},
		{"a root, a file and one on another mount", func(w *filesWorld) {
			w.open(0, w.rootDir, w.rootMount)
			w.open(2, w.dentry("passwd", w.dentry("etc", w.rootDir)), w.rootMount)
			w.open(7, w.dentry("null", w.top), w.onDev)
		}, "0 /, 2 /etc/passwd, 7 /dev/null", ""},
		{"a file that was deleted", func(w *filesWorld) {
			d := w.dentry("gone", w.top)
			w.Set(d, "dentry", "d_hash.pprev", 0)
			w.open(1, d, w.onDev)
		}, "1 /dev/gone (deleted)", ""},
		{"files without a place", func(w *filesWorld) {
			nowhere := w.Alloc("mount", 0)
			w.mount(nowhere, w.dentry("/", 0), nowhere, w.rootDir)
			w.open(0, w.placeless("", "pipefs", 184), nowhere)
			w.open(1, w.placeless("", "sockfs", 9), nowhere)
			w.open(2, w.placeless("[eventpoll]", "anon_inodefs", 1), nowhere)
			w.open(3, w.placeless("memfd:x", "tmpfs", 1), nowhere)
		}, "0 pipe:[184], 1 socket:[9], 2 anon_inode:[eventpoll], 3 /memfd:x (deleted)", ""},
		{"a process that has exited", func(w *filesWorld) { w.task.Files = 0 }, "", ""},
		{"no struct file", func(w *filesWorld) { w.Put(w.fds, wild) }, "0 ?", "struct file at"},
		{"a wild parent", func(w *filesWorld) { w.open(0, w.dentry("x", wild), w.rootMount) }, "0 ?", "struct dentry at"},
		{"a wild mount", func(w *filesWorld) { w.open(0, w.rootDir, wild) }, "0 ?", "struct mount at"},
		{"a pipe without an inode", func(w *filesWorld) {
			d := w.placeless("", "pipefs", 184)
			w.Set(d, "dentry", "d_inode", wild)
			w.open(0, d, w.rootMount)
		}, "0 ?", "struct inode at"},
		{"a pipe of no file system", func(w *filesWorld) {
			d := w.placeless("", "pipefs", 184)
			w.Set(d, "dentry", "d_sb", wild)
			w.open(0, d, w.rootMount)
		}, "0 ?", "struct super_block at"},
		{"a path beyond reason", func(w *filesWorld) {
			d := w.rootDir
			for range 64 {
				d = w.dentry(strings.Repeat("x", maxName), d)
			}
			w.open(0, d, w.rootMount)
		}, "0 ?", "does not lead to a root"},
		{"a table whose end is missing", func(w *filesWorld) {
			end := w.end() - 16
			table, _ := kmem.ReadUint(ctx, w.Space, w.task.Files, 8)
			w.Set(table, "fdtable", "fd", end)
			w.fds = end
			w.open(1, w.rootDir, w.rootMount)
		}, "1 /", "not present"},
		{"directories in a circle", func(w *filesWorld) {
			d := w.dentry("x", w.rootDir)
			w.Set(d, "dentry", "d_parent", w.dentry("y", d))
			w.open(0, d, w.rootMount)
		}, "0 ?", "does not lead to a root"},
		{"mounts in a circle", func(w *filesWorld) {
			w.mount(w.rootMount, w.rootDir, w.onDev, w.top)
			w.open(0, w.rootDir, w.rootMount)
		}, "0 ?", "does not lead to a root"},
		{"no table", func(w *filesWorld) { w.Set(w.task.Files, "files_struct", "fdt", wild) }, "", "struct fdtable at"},
		{"a count that cannot be true", func(w *filesWorld) {
			table, _ := kmem.ReadUint(ctx, w.Space, w.task.Files, 8)
			w.Set(table, "fdtable", "max_fds", 0xffffffff)
		}, "", "4294967295 file descriptors"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newFilesWorld(t)
			tc.open(w)
			files, damage, err := OpenFiles(ctx, w.Kernel, []*linux.Task{w.task})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range files[0] {
				got = append(got, fmt.Sprintf("%d %s", f.FD, f.Name))
			}
			if s := strings.Join(got, ", "); s != tc.want || len(damage) != min(1, len(tc.damage)) ||
				len(damage) > 0 && !strings.Contains(damage[0].Error(), tc.damage) {
				t.Errorf("%s\nwant %s\ndamage %v", s, tc.want, damage)
			}
		})
	}
}

// One process whose number of descriptors is damaged must not use up what is looked at for all.
func TestDescriptorTablesAreBounded(t *testing.T) {
	for _, count := range []uint64{maxFDs + 1, 0xffffffff} {
		w := newFilesWorld(t)
		w.open(3, w.rootDir, w.rootMount)
		table, files := w.Alloc("fdtable", 0), w.Alloc("files_struct", 0)
		w.Set(files, "files_struct", "fdt", table)
		w.Set(table, "fdtable", "max_fds", count)
		w.Set(table, "fdtable", "fd", w.end()-8)
		found, damage, err := OpenFiles(ctx, w.Kernel, []*linux.Task{{PID: 4, Files: files}, w.task})
		if err != nil || len(found[0]) != 0 || len(found[1]) != 1 || len(damage) != 1 {
			t.Errorf("%d: %v, %v, %v", count, found, damage, err)
		}
	}
}
