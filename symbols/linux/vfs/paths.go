package vfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"physgdb/symbols/linux/kmem"

	"physgdb/mmu"
)

// Limits for damaged memory.
const (
	maxDepth = 128  // directories and mounts
	maxName  = 255  // NAME_MAX, include/uapi/linux/limits.h
	maxPath  = 4096 // PATH_MAX
)

// dentry is a struct dentry, a name in a directory.
type dentry struct {
	parent, inode, super uint64
	name                 string
	hashed               bool // it is in the hash table: not deleted
	err                  error
}

// mount is a struct mount.
type mount struct {
	parent, root, point uint64 // the mount that it is in, its root dentry, and the dentry that it covers
	err                 error
}

// fileName is the name of a file, or why it is not known.
type fileName struct {
	text string
	err  error
}

// readPaths reads the dentries and mounts on the paths of files, from the files to the root.
func (f *fileFinder) readPaths(ctx context.Context, files []openFile) error {
	var dentries, mounts []uint64
	for _, o := range files {
		if o.err == nil {
			dentries, mounts = append(dentries, o.dentry), append(mounts, o.mount)
		}
	}
	for range maxDepth {
		dentries, mounts = unread(dentries, f.dentries), unread(mounts, f.mounts)
		if len(dentries)+len(mounts) == 0 {
			return nil
		}
		if len(f.dentries)+len(f.mounts)+len(dentries)+len(mounts) > maxPathParts {
			f.damage.Add("their paths have more than %d parts: damaged, or too many to look at", maxPathParts)
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

// unread returns the addresses that are not in read, each once.
func unread[T any](addrs []uint64, read map[uint64]T) []uint64 {
	slices.Sort(addrs)
	return slices.DeleteFunc(slices.Compact(addrs), func(addr uint64) bool {
		_, done := read[addr]
		return done
	})
}

// readDentries reads dentries with their names, and returns the addresses of their parents.
func (f *fileFinder) readDentries(ctx context.Context, addrs []uint64) (parents []uint64, err error) {
	structs, errs, err := f.l.dentry.Read(ctx, f.k.Space, addrs)
	if err != nil {
		return nil, err
	}
	names := make([]mmu.Op, len(addrs))
	for i, s := range structs {
		names[i] = mmu.Op{VA: s.Name, Buf: make([]byte, min(s.Len, maxName))}
	}
	if err := f.k.Space.ReadAll(ctx, names); err != nil {
		return nil, err
	}
	for i, s := range structs {
		if err := cmp.Or(errs[i], names[i].Err); err != nil {
			f.dentries[addrs[i]] = dentry{err: err}
			continue
		}
		f.dentries[addrs[i]] = dentry{
			parent: s.Parent, inode: s.Inode, super: s.Super, name: string(names[i].Buf), hashed: s.Hashed,
		}
		parents = append(parents, s.Parent)
	}
	return parents, nil
}

// readMounts reads mounts, and returns the addresses of their parent mounts and mount points.
func (f *fileFinder) readMounts(ctx context.Context, addrs []uint64) (parents, points []uint64, err error) {
	structs, errs, err := f.l.mount.Read(ctx, f.k.Space, addrs)
	if err != nil {
		return nil, nil, err
	}
	for i, s := range structs {
		f.mounts[addrs[i]] = mount{parent: s.Parent, root: s.Root, point: s.Point, err: errs[i]}
		if errs[i] == nil {
			parents, points = append(parents, s.Parent), append(points, s.Point)
		}
	}
	return parents, points, nil
}

// unnamed returns the names of files without a path, by dentry: a dentry that is its own parent,
// but not the root of its mount. These are pipes, sockets, anonymous inodes, and files in memory
// that never were in a directory.
func (f *fileFinder) unnamed(ctx context.Context, files []openFile) (map[uint64]fileName, error) {
	var of, inodes, supers []uint64
	for _, o := range files {
		d, m := f.dentries[o.dentry], f.mounts[o.mount]
		if cmp.Or(o.err, d.err, m.err) == nil && d.parent == o.dentry && m.root != o.dentry {
			of, inodes, supers = append(of, o.dentry), append(inodes, d.inode), append(supers, d.super)
		}
	}
	numbers, errs, err := f.l.inode.Read(ctx, f.k.Space, inodes)
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
		case errs[i] != nil:
			names[at] = fileName{err: errs[i]}
		default:
			kind := strings.TrimSuffix(types[i].text, "fs") // pipefs
			kind = strings.Replace(kind, "sock", "socket", 1)
			names[at] = fileName{text: fmt.Sprintf("%s:[%d]", kind, numbers[i].Number)}
		}
	}
	return names, nil
}

// fileSystems reads the names of file system types, given super blocks.
func (f *fileFinder) fileSystems(ctx context.Context, supers []uint64) ([]fileName, error) {
	blocks, blockErrs, err := f.l.super.Read(ctx, f.k.Space, supers)
	if err != nil {
		return nil, err
	}
	addrs := make([]uint64, len(blocks))
	for i, b := range blocks {
		addrs[i] = b.Type
	}
	types, typeErrs, err := f.l.fsType.Read(ctx, f.k.Space, addrs)
	if err != nil {
		return nil, err
	}
	const maxName = 16 // bytes: more than these names have
	ops := make([]mmu.Op, len(types))
	for i, t := range types {
		ops[i] = mmu.Op{VA: t.Name, Buf: make([]byte, maxName)}
	}
	if err := f.k.Space.ReadAll(ctx, ops); err != nil {
		return nil, err
	}
	names := make([]fileName, len(ops))
	for i := range ops {
		names[i].err = cmp.Or(blockErrs[i], typeErrs[i])
		read := ops[i].Buf[:ops[i].N]
		if names[i].text = kmem.CString(read); len(names[i].text) == len(read) { // otherwise the terminating NUL was read
			names[i].err = cmp.Or(names[i].err, ops[i].Err)
		}
	}
	return names, nil
}

// errNoPath is the error for a file whose directories do not end at a root.
var errNoPath = errors.New("its path does not lead to a root: damaged memory")

// path returns the path of an open file, as d_path() does (fs/d_path.c).
func (f *fileFinder) path(o openFile) fileName {
	path, at, in := "", o.dentry, o.mount
	for range maxDepth {
		d, known := f.dentries[at]
		m, mounted := f.mounts[in]
		err := cmp.Or(o.err, d.err, m.err)
		switch {
		case err != nil:
			return fileName{err: err}
		case !known || !mounted || len(path) > maxPath:
			return fileName{err: errNoPath}
		case at == m.root && m.parent == in:
			if f.dentries[o.dentry].hashed || path == "" {
				return fileName{text: "/" + path}
			}
			return fileName{text: "/" + path + " (deleted)"}
		case at == m.root:
			at, in = m.point, m.parent
			continue
		case d.parent == at: // not below the root of its mount
			return fileName{err: errNoPath}
		}
		path = strings.TrimSuffix(d.name+"/"+path, "/")
		at = d.parent
	}
	return fileName{err: errNoPath}
}
