package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"physgdb/symbols/linux/kmem"

	"physgdb/internal/plain"
	"physgdb/symbols/debuginfo"
)

// ErrNoModuleFile says that the file of a module was not found, or only ones that will not do.
var ErrNoModuleFile = errors.New("its file was not found")

// moduleFilePlaces are where distributions keep modules, those with debug information first; below each is a directory
// for the kernel's release.
var moduleFilePlaces = []string{
	"/usr/lib/debug/lib/modules", "/usr/lib/debug/usr/lib/modules", "/lib/modules", "/usr/lib/modules",
}

// ModuleFiles finds the files of modules on the disk of this machine. The directories are searched once, when the first
// module is asked for. It is safe for concurrent use.
type ModuleFiles struct {
	dirs  []string
	usual []string // directories that need not exist
	index kmem.Lazy[map[string][]string]
}

// NewModuleFiles looks for files in the directories given and all below them, and then in the usual ones of the release
// (as uname -r has it).
func NewModuleFiles(release string, dirs []string) *ModuleFiles {
	f := &ModuleFiles{dirs: dirs}
	if !plain.IsName(release) { // it comes out of a damaged memory
		return f
	}
	for _, place := range moduleFilePlaces {
		f.usual = append(f.usual, filepath.Join(place, release))
	}
	return f
}

// Find returns the path of the file that a module was loaded from, or of its debug information, which must have the
// module's build-id. Of several the first with debug information counts; those under their build-id come first, as they
// need no search. The error is ErrNoModuleFile, with what was wrong with the files that there are, or why one could not even
// look.
func (f *ModuleFiles) Find(ctx context.Context, m *Module) (string, error) {
	id, err := m.BuildID(ctx)
	if err != nil {
		return "", err
	}
	if len(id) == 0 {
		return "", fmt.Errorf("module %s: %w: its build-id is not known, so that no file can be told to be the right one",
			m.Name, ErrNoModuleFile)
	}
	c := moduleChoice{id: id}
	if c.choose(f.underBuildID(id)) {
		return c.best, nil
	}
	index, err := f.index.Get(ctx, f.search)
	if err != nil {
		return "", err
	}
	if c.choose(index[moduleName(m.Name)]) || c.best != "" {
		return c.best, nil
	}
	return "", f.notFound(m, c.refused)
}

// underBuildID lists the files that are named by a build-id.
func (f *ModuleFiles) underBuildID(id []byte) []string {
	var paths []string
	for _, dir := range append(slices.Clone(f.dirs), "/usr/lib/debug") {
		path := debuginfo.BuildIDFile(dir, id)
		if _, err := os.Stat(path); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

// moduleChoice is what has been found for a module with a build-id so far.
type moduleChoice struct {
	id      []byte
	best    string // "" for none
	refused []string
}

// choose looks through files until one has debug information, and reports whether one has.
func (c *moduleChoice) choose(paths []string) bool {
	for _, path := range paths {
		file, err := checkModuleFile(path, c.id)
		switch {
		case err != nil:
			c.refused = append(c.refused, err.Error())
		case file.Debug:
			c.best = path
			return true
		case c.best == "":
			c.best = path
		}
	}
	return false
}

func (f *ModuleFiles) notFound(m *Module, refused []string) error {
	if len(refused) == 0 {
		return fmt.Errorf("module %s: %w: there is no %s.ko in %s", m.Name, ErrNoModuleFile, m.Name,
			strings.Join(append(f.dirs[:len(f.dirs):len(f.dirs)], f.usual...), ", "))
	}
	return fmt.Errorf("module %s: %w: %s", m.Name, ErrNoModuleFile, strings.Join(refused, "; "))
}

// checkModuleFile opens a file and compares its build-id.
func checkModuleFile(path string, id []byte) (*ModuleFile, error) {
	if how, ok := unpackedBy[filepath.Ext(path)]; ok {
		return nil, fmt.Errorf("%s is compressed, and gdb cannot load that: unpack it by %s", path, how)
	}
	file, err := OpenModuleFile(path)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	if !bytes.Equal(file.BuildID, id) {
		return nil, fmt.Errorf("%s is of another build: its build-id is %x, memory has %x", path, file.BuildID, id)
	}
	return file, nil
}

// unpackedBy tells what unpacks a compressed file, and keeps it.
var unpackedBy = map[string]string{".xz": "unxz -k", ".zst": "unzstd", ".gz": "gunzip -k"}

// search lists all files of modules by the modules' names.
func (f *ModuleFiles) search(ctx context.Context) (map[string][]string, error) {
	index := map[string][]string{}
	for _, dir := range f.dirs {
		if err := searchModules(ctx, dir, index); err != nil {
			return nil, fmt.Errorf("look for modules: %w", err)
		}
	}
	for _, dir := range f.usual {
		if err := searchModules(ctx, dir, index); err != nil && ctx.Err() != nil {
			return nil, fmt.Errorf("look for modules: %w", err)
		}
	}
	return index, nil
}

// searchModules adds the files below a directory. Subdirectories that cannot be read are passed over.
func searchModules(ctx context.Context, dir string, index map[string][]string) error {
	root, err := filepath.EvalSymlinks(dir) // WalkDir does not follow links, not even this one
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && path == root {
			return err
		}
		if err == nil && !d.IsDir() {
			if name, ok := moduleOfFile(d.Name()); ok {
				index[name] = append(index[name], path)
			}
		}
		return nil
	})
}

// moduleOfFile returns the name of the module that a file holds, by the file's name.
func moduleOfFile(file string) (string, bool) {
	if _, ok := unpackedBy[filepath.Ext(file)]; ok {
		file = strings.TrimSuffix(file, filepath.Ext(file))
	}
	name, ok := strings.CutSuffix(strings.TrimSuffix(file, ".debug"), ".ko")
	return moduleName(name), ok && name != ""
}
