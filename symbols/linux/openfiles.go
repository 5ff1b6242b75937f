package linux

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"

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
	mostFDs       = 1 << 21 // places for descriptors of all processes, most of which are free
	mostOpenFiles = 1 << 16
	mostPathParts = 1 << 18  // dentries and mounts that are read, for all files
	mostPathBytes = 16 << 20 // of the paths of all files
)

// fileLayouts are what is read on the way from a task to the names of its files.
type fileLayouts struct {
	files  *layout // struct files_struct
	Table  member  `c:"fdt"`
	tables struct {
		table *layout // struct fdtable
		Max   member  `c:"max_fds"`
		FDs   member  `c:"fd"`
	}
	file struct {
		file   *layout
		Dentry member `c:"f_path.dentry"`
		Mount  member `c:"f_path.mnt"`
	}
	dentry struct {
		dentry *layout
		Parent member `c:"d_parent"`
		Name   member `c:"d_name.name"`
		Len    member `c:"d_name.len"`
		Inode  member `c:"d_inode"`
		Hashed member `c:"d_hash.pprev"`
		Super  member `c:"d_sb"`
	}
	mount struct {
		mount  *layout
		VFS    member `c:"mnt"`
		Root   member `c:"mnt.mnt_root"`
		Parent member `c:"mnt_parent"`
		Point  member `c:"mnt_mountpoint"`
	}
	inode struct {
		inode  *layout
		Number member `c:"i_ino"`
	}
	super struct {
		super *layout // struct super_block
		Type  member  `c:"s_type"`
	}
	fs struct {
		fs   *layout // struct file_system_type
		Name member  `c:"name"`
	}
}

func (k *Kernel) fileLayouts(ctx context.Context) (*fileLayouts, error) {
	l := &fileLayouts{}
	for _, s := range []struct {
		at      **layout
		typ     string
		members any
	}{
		{&l.files, "files_struct", l}, {&l.tables.table, "fdtable", &l.tables}, {&l.file.file, "file", &l.file},
		{&l.dentry.dentry, "dentry", &l.dentry}, {&l.mount.mount, "mount", &l.mount}, {&l.inode.inode, "inode", &l.inode},
		{&l.super.super, "super_block", &l.super}, {&l.fs.fs, "file_system_type", &l.fs},
	} {
		var err error
		if *s.at, err = k.layout(ctx, s.typ, s.members); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// unknownFile is the name of a file whose name cannot be read.
const unknownFile = "?"

// fileFinder finds the names of open files. Each step is done for all of them at once, as it costs a round trip.
type fileFinder struct {
	k        *Kernel
	l        *fileLayouts
	dentries map[uint64]dentry
	mounts   map[uint64]mount
	damage   damage
}

// openFile is a struct file that a descriptor leads to.
type openFile struct {
	task, fd      int
	dentry, mount uint64
	err           error // why these are not known
}

// OpenFiles lists the open files of tasks, each with its own. Those of threads are those of their process. damage tells what is
// missing.
func (k *Kernel) OpenFiles(ctx context.Context, tasks []*Task) (files [][]OpenFile, damage []error, err error) {
	l, err := k.fileLayouts(ctx)
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
		if bytes > mostPathBytes {
			f.damage.add("the paths of all take more than %d MB, of which the first are shown: damaged", mostPathBytes>>20)
			break
		}
		name, ok := placeless[o.dentry]
		if !ok {
			name = f.path(o)
		}
		if name.err != nil {
			f.damage.add("pid %d: the name of its file %d: %w", tasks[o.task].PID, o.fd, name.err)
			name.text = unknownFile
		}
		bytes += len(name.text)
		files[o.task] = append(files[o.task], OpenFile{o.fd, name.text})
	}
	return files, f.damage.list(), nil
}

// files reads the descriptors of tasks, and the structs that these lead to.
func (f *fileFinder) files(ctx context.Context, tasks []*Task) ([]openFile, error) {
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
			f.damage.add("pid %d: its open files: %w", tasks[i].PID, a.Err)
		}
		for fd := 0; 8*(fd+1) <= a.N && len(open) <= mostOpenFiles; fd++ {
			if addr := binary.LittleEndian.Uint64(a.Buf[8*fd:]); addr != 0 {
				open, at = append(open, openFile{task: i, fd: fd}), append(at, addr)
			}
		}
	}
	if len(open) > mostOpenFiles {
		f.damage.add("there are more than %d, of which the first are shown", mostOpenFiles)
		open, at = open[:mostOpenFiles], at[:mostOpenFiles]
	}
	records, err := f.l.file.file.read(ctx, f.k.Space, at)
	if err != nil {
		return nil, err
	}
	for i, r := range records {
		o := &open[i]
		if o.err = r.err; o.err == nil {
			o.dentry, o.mount = f.l.file.Dentry.uint(r), f.l.file.Mount.uint(r)-f.l.mount.VFS.Offset
		}
	}
	return open, nil
}

// arrays finds the array of descriptors of each task. A task that has none, or none that can be believed, has an empty one.
func (f *fileFinder) arrays(ctx context.Context, tasks []*Task) ([]mmu.Op, error) {
	addrs := make([]uint64, len(tasks))
	for i, t := range tasks {
		addrs[i] = t.files
	}
	structs, err := f.l.files.read(ctx, f.k.Space, addrs)
	if err != nil {
		return nil, err
	}
	for i, r := range structs {
		addrs[i] = 0
		if r.err == nil {
			addrs[i] = f.l.Table.uint(r)
		}
	}
	tables, err := f.l.tables.table.read(ctx, f.k.Space, addrs)
	if err != nil {
		return nil, err
	}
	arrays := make([]mmu.Op, len(tasks))
	left := uint64(mostFDs)
	for i, r := range tables {
		n := f.l.tables.Max.uint(r)
		switch err := cmp.Or(structs[i].err, r.err); {
		case tasks[i].files == 0: // it has exited
		case err != nil:
			f.damage.add("pid %d: its open files: %w", tasks[i].PID, err)
		case n > left:
			f.damage.add("pid %d: %d file descriptors: damaged, or too many to look at", tasks[i].PID, n)
		default:
			left -= n
			arrays[i] = mmu.Op{VA: f.l.tables.FDs.uint(r), Buf: make([]byte, 8*n)}
		}
	}
	return arrays, nil
}
