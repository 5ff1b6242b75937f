package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"physgdb/symbols"
	"physgdb/symbols/elfsynth"
	"physgdb/symbols/linux"
)

// keptKernels is where files are kept that were made of kernels' memories, below the user's cache: a directory for each
// build-id. The number changes with what is in the files.
const keptKernels = "physgdb/kernels-5"

// keptName is the name of the file in its directory.
const keptName = "vmlinux"

func keptDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, keptKernels), nil
}

// mostKept bounds how many kept files are compared with a kernel: the latest, at one small read each.
const mostKept = 64

// keptVmlinux returns the file that was made of this kernel before, or nil.
func (m *Machine) keptVmlinux(ctx context.Context) (*vmlinuxFile, error) {
	paths := keptPaths()
	var notes []linux.Notes
	for _, path := range paths {
		addr, data, _ := symbols.ReadNotes(path) // of a broken file nothing, which fits no kernel
		notes = append(notes, linux.Notes{Addr: addr, Data: data})
	}
	if len(notes) == 0 {
		return nil, nil
	}
	i, err := m.Kernel.HasNotes(ctx, notes)
	if err != nil || i < 0 {
		return nil, err
	}
	file, err := symbols.Open(paths[i])
	if err != nil {
		m.log.Warn("a kept file cannot be used, and is made again", "why", err)
		return nil, nil
	}
	return &vmlinuxFile{File: file, path: paths[i], made: true}, nil
}

// keptPaths lists the kept files, the latest first.
func keptPaths() []string {
	dir, err := keptDir()
	if err != nil {
		return nil
	}
	builds, _ := os.ReadDir(dir) // there is none until something is kept
	var paths []string
	made := map[string]int64{}
	for _, build := range builds {
		path := filepath.Join(dir, build.Name(), keptName)
		if info, err := os.Stat(path); err == nil {
			paths = append(paths, path)
			made[path] = info.ModTime().UnixNano()
		}
	}
	slices.SortFunc(paths, func(a, b string) int { return cmp.Compare(made[b], made[a]) })
	return paths[:min(len(paths), mostKept)]
}

// makeVmlinux makes a file of the kernel's own tables, and keeps it unless something is missing, or it cannot be kept.
func (m *Machine) makeVmlinux(ctx context.Context, tables *linux.OwnTables) (*vmlinuxFile, error) {
	program, missing, err := tables.Program(ctx)
	if err != nil {
		return nil, err
	}
	content, left := elfsynth.Build(program)
	v := &vmlinuxFile{made: true, missing: append(missing, left...)}
	for _, why := range v.missing {
		m.log.Warn("the kernel's memory does not tell all", "missing", why)
	}
	if len(v.missing) == 0 && len(tables.BuildID) > 0 {
		if v.path, err = keep(tables.BuildID, content); err != nil {
			m.log.Info("what was made of the kernel's memory is not kept for the next time", "why", err)
		}
	}
	if v.path == "" {
		if v.scratch, err = os.MkdirTemp("", "physgdb-"); err != nil {
			return nil, err
		}
		v.path = filepath.Join(v.scratch, keptName)
		if err := os.WriteFile(v.path, content, 0o600); err != nil {
			return nil, errors.Join(err, v.close())
		}
	}
	if v.File, err = symbols.Open(v.path); err != nil {
		return nil, errors.Join(err, v.close())
	}
	return v, nil
}

// keep writes a file where keptVmlinux looks for it, and returns its path.
func keep(buildID, content []byte) (string, error) {
	dir, err := keptDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, fmt.Sprintf("%x", buildID))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(dir, keptName)
	if err := writeWhole(path, bytes.NewReader(content)); err != nil {
		return "", fmt.Errorf("keep %s: %w", path, err)
	}
	return path, nil
}
