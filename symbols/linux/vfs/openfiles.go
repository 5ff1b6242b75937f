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

// OpenFile is an open file of a process.
type OpenFile struct {
	FD int
	// Name is the name in /proc/PID/fd: a path in the mount tree of the process, or a name such as
	// pipe:[8192] for a file without a path. It is ? if it cannot be read.
	Name string
}

// Limits for damaged memory.
const (
	maxFDs       = 1 << 21 // entries of descriptor tables of all processes, most of which are free
	maxOpenFiles = 1 << 16
	maxPathParts = 1 << 18  // dentries and mounts of all files
	maxPathBytes = 16 << 20 // of the paths of all files
)

// The structs on the way from a task to the names of its files (include/linux/fdtable.h, fs.h,
// dcache.h; fs/mount.h).
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

// fileFinder finds the names of open files. Each step costs a round trip and handles all files at
// once.
type fileFinder struct {
	k        *linux.Kernel
	l        *layouts
	dentries map[uint64]dentry
	mounts   map[uint64]mount
	damage   kmem.Damage
}

// openFile is the struct file of a descriptor.
type openFile struct {
	task, fd      int
	dentry, mount uint64
	err           error // why these are not known
}

// OpenFiles returns the open files of each task. Threads have those of their process. damage says
// which are missing.
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
	unnamed, err := f.unnamed(ctx, open)
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
		name, ok := unnamed[o.dentry]
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

// files reads the descriptors of tasks, and their struct file.
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

// arrays returns a read of the descriptor array of each task. It is empty for a task without a
// plausible array.
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
		case tasks[i].Files == 0: // the task has exited
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
