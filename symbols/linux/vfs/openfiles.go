// Package vfs reads which files the processes of a Linux kernel had open.
package vfs

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/kmem"

	"physgdb/mmu"
)

// OpenFile is a file that a process had open.
type OpenFile struct {
	FD int
	// Name is what /proc/PID/fd has: a path, in the tree of mounts of the process, or a name such as pipe:[8192] of what has none. It
	// is ? where memory does not tell.
	Name string
}

// Limits of what is believed of a damaged machine.
const (
	maxFDs       = 1 << 21 // places for descriptors of all processes, most of which are free
	maxOpenFiles = 1 << 16
	maxPathParts = 1 << 18  // dentries and mounts that are read, for all files
	maxPathBytes = 16 << 20 // of the paths of all files
)

// The structs on the way from a task to the names of its files (include/linux/fdtable.h, fs.h, dcache.h; fs/mount.h).
type (
	filesStruct struct {
		Table uint64 `c:"fdt"`
	}
	fdTable struct {
		Max uint64 `c:"max_fds"`
		FDs uint64 `c:"fd"`
	}
	fileStruct struct {
		Dentry uint64 `c:"f_path.dentry"`
		Mount  uint64 `c:"f_path.mnt"`
	}
	dentryStruct struct {
		Parent uint64 `c:"d_parent"`
		Name   uint64 `c:"d_name.name"`
		Len    uint64 `c:"d_name.len"`
		Inode  uint64 `c:"d_inode"`
		Hashed bool   `c:"d_hash.pprev"`
		Super  uint64 `c:"d_sb"`
	}
	mountStruct struct {
		VFS    struct{} `c:"mnt"`
		Root   uint64   `c:"mnt.mnt_root"`
		Parent uint64   `c:"mnt_parent"`
		Point  uint64   `c:"mnt_mountpoint"`
	}
	inodeStruct struct {
		Number uint64 `c:"i_ino"`
	}
	superBlock struct {
		Type uint64 `c:"s_type"`
	}
	fileSystemType struct {
		Name uint64 `c:"name"`
	}
)

// layouts are the layouts of these structs.
type layouts struct {
	files  *kmem.Struct[filesStruct]
	table  *kmem.Struct[fdTable]
	file   *kmem.Struct[fileStruct]
	dentry *kmem.Struct[dentryStruct]
	mount  *kmem.Struct[mountStruct]
	inode  *kmem.Struct[inodeStruct]
	super  *kmem.Struct[superBlock]
	fsType *kmem.Struct[fileSystemType]
}

func newLayouts(types symbols.Types) (*layouts, error) {
	l := &layouts{}
	return l, errors.Join(
		look(types, &l.files, "files_struct"), look(types, &l.table, "fdtable"), look(types, &l.file, "file"),
		look(types, &l.dentry, "dentry"), look(types, &l.mount, "mount"), look(types, &l.inode, "inode"),
		look(types, &l.super, "super_block"), look(types, &l.fsType, "file_system_type"),
	)
}

// look looks up the layout of a struct.
func look[T any](types symbols.Types, to **kmem.Struct[T], name string) (err error) {
	*to, err = kmem.NewStruct[T](types, name)
	return err
}

// unknownFile is the name of a file whose name cannot be read.
const unknownFile = "?"

// fileFinder finds the names of open files. Each step is done for all of them at once, as it costs a round trip.
type fileFinder struct {
	k        *linux.Kernel
	l        *layouts
	dentries map[uint64]dentry
	mounts   map[uint64]mount
	damage   kmem.Damage
}

// openFile is a struct file that a descriptor leads to.
type openFile struct {
	task, fd      int
	dentry, mount uint64
	err           error // why these are not known
}

// OpenFiles lists the open files of tasks, each with its own. Those of threads are those of their process. damage tells what is
// missing.
func OpenFiles(ctx context.Context, k *linux.Kernel, tasks []*linux.Task) (files [][]OpenFile, damage []error, err error) {
	types, err := k.Types(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("open files: %w", err)
	}
	l, err := newLayouts(types)
	if err != nil {
		return nil, nil, fmt.Errorf("open files: %w", err)
	}
	f := &fileFinder{k: k, l: l, dentries: map[uint64]dentry{}, mounts: map[uint64]mount{}}
	open, err := f.files(ctx, tasks)
	if err != nil {
		return nil, nil, fmt.Errorf("open files: %w", err)
	}
	if err := f.readPaths(ctx, open); err != nil {
		return nil, nil, fmt.Errorf("open files: %w", err)
	}
	placeless, err := f.placeless(ctx, open)
	if err != nil {
		return nil, nil, fmt.Errorf("open files: %w", err)
	}
	files = make([][]OpenFile, len(tasks))
	bytes := 0 // of all paths
	for _, o := range open {
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if bytes > maxPathBytes {
			f.damage.Add("the paths of all take more than %d MB, of which the first are shown: damaged", maxPathBytes>>20)
			break
		}
		name, ok := placeless[o.dentry]
		if !ok {
			name = f.path(o)
		}
		if name.err != nil {
			f.damage.Add("pid %d: the name of its file %d: %w", tasks[o.task].PID, o.fd, name.err)
			name.text = unknownFile
		}
		bytes += len(name.text)
		files[o.task] = append(files[o.task], OpenFile{o.fd, name.text})
	}
	return files, f.damage.List(), nil
}

// files reads the descriptors of tasks, and the structs that these lead to.
func (f *fileFinder) files(ctx context.Context, tasks []*linux.Task) ([]openFile, error) {
	arrays, err := f.arrays(ctx, tasks)
	if err != nil {
		return nil, err
	}
	if err := f.k.Space.ReadAll(ctx, arrays); err != nil {
		return nil, err
	}
	var open []openFile
	var at []uint64
	for i := range arrays {
		a := &arrays[i]
		if a.Err != nil {
			f.damage.Add("pid %d: its open files: %w", tasks[i].PID, a.Err)
		}
		for fd := 0; 8*(fd+1) <= a.N && len(open) <= maxOpenFiles; fd++ {
			if addr := binary.LittleEndian.Uint64(a.Buf[8*fd:]); addr != 0 {
				open, at = append(open, openFile{task: i, fd: fd}), append(at, addr)
			}
		}
	}
	if len(open) > maxOpenFiles {
		f.damage.Add("there are more than %d, of which the first are shown", maxOpenFiles)
		open, at = open[:maxOpenFiles], at[:maxOpenFiles]
	}
	structs, errs, err := f.l.file.Read(ctx, f.k.Space, at)
	if err != nil {
		return nil, err
	}
	vfs := f.l.mount.Offset("VFS")
	for i, s := range structs {
		open[i].dentry, open[i].mount, open[i].err = s.Dentry, s.Mount-vfs, errs[i]
	}
	return open, nil
}

// arrays finds the array of descriptors of each task. A task that has none, or none that can be believed, has an empty one.
func (f *fileFinder) arrays(ctx context.Context, tasks []*linux.Task) ([]mmu.Op, error) {
	addrs := make([]uint64, len(tasks))
	for i, t := range tasks {
		addrs[i] = t.Files
	}
	structs, errs, err := f.l.files.Read(ctx, f.k.Space, addrs)
	if err != nil {
		return nil, err
	}
	for i, s := range structs {
		addrs[i] = s.Table
	}
	tables, tableErrs, err := f.l.table.Read(ctx, f.k.Space, addrs)
	if err != nil {
		return nil, err
	}
	arrays := make([]mmu.Op, len(tasks))
	left := uint64(maxFDs)
	for i, t := range tables {
		switch err := cmp.Or(errs[i], tableErrs[i]); {
		case tasks[i].Files == 0: // it has exited
		case err != nil:
			f.damage.Add("pid %d: its open files: %w", tasks[i].PID, err)
		case t.Max > left:
			f.damage.Add("pid %d: %d file descriptors: damaged, or too many to look at", tasks[i].PID, t.Max)
		default:
			left -= t.Max
			arrays[i] = mmu.Op{VA: t.FDs, Buf: make([]byte, 8*t.Max)}
		}
	}
	return arrays, nil
}
