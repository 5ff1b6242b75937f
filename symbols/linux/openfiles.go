package linux

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

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
	mostFDs       = 1 << 22 // places for descriptors of all processes, most of which are free
	mostOpenFiles = 1 << 16
	deepestPath   = 128  // directories and mounts
	longestName   = 255  // NAME_MAX, include/uapi/linux/limits.h
	longestPath   = 4096 // PATH_MAX
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

// dentry is a name in a directory.
type dentry struct {
	parent, inode, super uint64
	name                 string
	hashed               bool // it can still be found by its name
	err                  error
}

// mount is a file system at its place.
type mount struct {
	parent, root, point uint64 // its mount, its own first dentry, and that which it covers
	err                 error
}

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

// fileName is the name of a file, or why it is not known.
type fileName struct {
	text string
	err  error
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
	for _, o := range open {
		name, ok := placeless[o.dentry]
		if !ok {
			name = f.path(o)
		}
		if name.err != nil {
			f.damage.add("pid %d: the name of its file %d: %w", tasks[o.task].PID, o.fd, name.err)
			name.text = unknownFile
		}
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
		for fd := 0; 8*(fd+1) <= a.N; fd++ {
			if addr := binary.LittleEndian.Uint64(a.Buf[8*fd:]); addr != 0 {
				open, at = append(open, openFile{task: i, fd: fd}), append(at, addr)
			}
		}
	}
	if len(open) > mostOpenFiles {
		f.damage.add("there are %d, of which %d are shown", len(open), mostOpenFiles)
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

// readPaths reads the names and mounts that lead to files, from the files up.
func (f *fileFinder) readPaths(ctx context.Context, files []openFile) error {
	var dentries, mounts []uint64
	for _, o := range files {
		if o.err == nil {
			dentries, mounts = append(dentries, o.dentry), append(mounts, o.mount)
		}
	}
	for range deepestPath {
		dentries, mounts = unread(dentries, f.dentries), unread(mounts, f.mounts)
		if len(dentries)+len(mounts) == 0 {
			return nil
		}
		parents, err := f.readDentries(ctx, dentries)
		if err != nil {
			return err
		}
		var points []uint64
		if mounts, points, err = f.readMounts(ctx, mounts); err != nil {
			return err
		}
		dentries = append(parents, points...)
	}
	return nil
}

// unread returns the addresses, once each, at which nothing was read yet.
func unread[T any](addrs []uint64, read map[uint64]T) []uint64 {
	slices.Sort(addrs)
	return slices.DeleteFunc(slices.Compact(addrs), func(addr uint64) bool {
		_, done := read[addr]
		return done
	})
}

// readDentries reads dentries with their names, and returns where their parents are.
func (f *fileFinder) readDentries(ctx context.Context, addrs []uint64) (parents []uint64, err error) {
	d := &f.l.dentry
	records, err := d.dentry.read(ctx, f.k.Space, addrs)
	if err != nil {
		return nil, err
	}
	names := make([]mmu.Op, len(addrs))
	for i, r := range records {
		if r.err == nil {
			names[i] = mmu.Op{VA: d.Name.uint(r), Buf: make([]byte, min(d.Len.uint(r), longestName))}
		}
	}
	if err := f.k.Space.ReadAll(ctx, names); err != nil {
		return nil, err
	}
	for i, r := range records {
		if r.err == nil {
			r.err = names[i].Err
		}
		if r.err != nil {
			f.dentries[addrs[i]] = dentry{err: r.err}
			continue
		}
		f.dentries[addrs[i]] = dentry{
			parent: d.Parent.uint(r), inode: d.Inode.uint(r), super: d.Super.uint(r), name: string(names[i].Buf),
			hashed: d.Hashed.uint(r) != 0,
		}
		parents = append(parents, d.Parent.uint(r))
	}
	return parents, nil
}

// readMounts reads mounts, and returns where the mounts and dentries are that they stand on.
func (f *fileFinder) readMounts(ctx context.Context, addrs []uint64) (parents, points []uint64, err error) {
	m := &f.l.mount
	records, err := m.mount.read(ctx, f.k.Space, addrs)
	if err != nil {
		return nil, nil, err
	}
	for i, r := range records {
		if r.err != nil {
			f.mounts[addrs[i]] = mount{err: r.err}
			continue
		}
		f.mounts[addrs[i]] = mount{parent: m.Parent.uint(r), root: m.Root.uint(r), point: m.Point.uint(r)}
		parents, points = append(parents, m.Parent.uint(r)), append(points, m.Point.uint(r))
	}
	return parents, points, nil
}

// placeless names the files that have no place, by dentry: such a dentry is its own parent, and not the root of its mount. These
// are pipes, sockets and anonymous inodes, and files in memory that never had a name in a directory.
func (f *fileFinder) placeless(ctx context.Context, files []openFile) (map[uint64]fileName, error) {
	var of, inodes, supers []uint64
	for _, o := range files {
		d, m := f.dentries[o.dentry], f.mounts[o.mount]
		if cmp.Or(o.err, d.err, m.err) == nil && d.parent == o.dentry && m.root != o.dentry {
			of, inodes, supers = append(of, o.dentry), append(inodes, d.inode), append(supers, d.super)
		}
	}
	numbers, err := f.l.inode.inode.read(ctx, f.k.Space, inodes)
	if err != nil {
		return nil, err
	}
	types, err := f.fileSystems(ctx, supers)
	if err != nil {
		return nil, err
	}
	names := map[uint64]fileName{}
	for i, at := range of {
		own := f.dentries[at].name
		switch {
		case types[i].err != nil:
			names[at] = fileName{err: types[i].err}
		case types[i].text == "anon_inodefs":
			names[at] = fileName{text: "anon_inode:" + own}
		case own != "":
			names[at] = fileName{text: "/" + own + " (deleted)"}
		case numbers[i].err != nil:
			names[at] = fileName{err: numbers[i].err}
		default:
			kind := strings.TrimSuffix(types[i].text, "fs") // pipefs
			kind = strings.Replace(kind, "sock", "socket", 1)
			names[at] = fileName{text: fmt.Sprintf("%s:[%d]", kind, f.l.inode.Number.uint(numbers[i]))}
		}
	}
	return names, nil
}

// fileSystems reads the names of the types of file systems, given their super blocks.
func (f *fileFinder) fileSystems(ctx context.Context, supers []uint64) ([]fileName, error) {
	addrs, names := slices.Clone(supers), make([]fileName, len(supers))
	for _, step := range []struct {
		layout  *layout
		pointer *member
	}{{f.l.super.super, &f.l.super.Type}, {f.l.fs.fs, &f.l.fs.Name}} {
		records, err := step.layout.read(ctx, f.k.Space, addrs)
		if err != nil {
			return nil, err
		}
		for i, r := range records {
			names[i].err = cmp.Or(names[i].err, r.err)
			addrs[i] = step.pointer.uint(r)
		}
	}
	const longest = 16 // bytes: more than these names have
	ops := make([]mmu.Op, len(addrs))
	for i, addr := range addrs {
		ops[i] = mmu.Op{VA: addr, Buf: make([]byte, longest)}
	}
	if err := f.k.Space.ReadAll(ctx, ops); err != nil {
		return nil, err
	}
	for i := range ops {
		read := ops[i].Buf[:ops[i].N]
		if names[i].text = cString(read); len(names[i].text) == len(read) { // else its end is there
			names[i].err = cmp.Or(names[i].err, ops[i].Err)
		}
	}
	return names, nil
}

// unknownFile is the name of a file whose name cannot be read.
const unknownFile = "?"

// errNoPath is what is wrong with a file whose directories lead nowhere.
var errNoPath = errors.New("its path does not lead to a root: damaged memory")

// path returns the path of an open file, as d_path() has it (fs/d_path.c).
func (f *fileFinder) path(o openFile) fileName {
	path, at, in := "", o.dentry, o.mount
	for range deepestPath {
		d, known := f.dentries[at]
		m, mounted := f.mounts[in]
		err := cmp.Or(o.err, d.err, m.err)
		switch {
		case err != nil:
			return fileName{err: err}
		case !known || !mounted || len(path) > longestPath:
			return fileName{err: errNoPath}
		case at == m.root && m.parent == in:
			if f.dentries[o.dentry].hashed || path == "" {
				return fileName{text: "/" + path}
			}
			return fileName{text: "/" + path + " (deleted)"}
		case at == m.root:
			at, in = m.point, m.parent
			continue
		case d.parent == at: // it is not below the root of its mount
			return fileName{err: errNoPath}
		}
		path = strings.TrimSuffix(d.name+"/"+path, "/")
		at = d.parent
	}
	return fileName{err: errNoPath}
}
