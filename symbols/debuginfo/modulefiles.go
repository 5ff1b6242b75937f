package debuginfo

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

	"physgdb/internal/plain"
)

// ErrNoModuleFile is the error for a module of which no suitable file was found.
var ErrNoModuleFile = errors.New("its file was not found")

// moduleFilePlaces are the directories in which distributions install modules, those with debug
// information first. Each has a subdirectory for the kernel's release.
var moduleFilePlaces = []string{
	"/usr/lib/debug/lib/modules", "/usr/lib/debug/usr/lib/modules", "/lib/modules", "/usr/lib/modules",
}

// ModuleFiles finds files of kernel modules on this computer. The directories are searched once, at
// the first call of Find. It is safe for concurrent use.
type ModuleFiles struct {
	dirs  []string
	usual []string // directories that need not exist

	searching chan struct{}       // holds an element during the search
	index     map[string][]string // paths by the name of the module; nil before the search
}

// NewModuleFiles returns a search for files in dirs and their subdirectories, and then in the usual
// directories of a kernel release (as printed by uname -r).
func NewModuleFiles(release string, dirs []string) *ModuleFiles {
	f := &ModuleFiles{dirs: dirs, searching: make(chan struct{}, 1)}
	if !plain.IsName(release) { // it comes from damaged memory
		return f
	}
	for _, place := range moduleFilePlaces {
		f.usual = append(f.usual, filepath.Join(place, release))
	}
	return f
}

// Find returns the path of the file that a module was loaded from, or of the file of its debug
// information. id is the module's build-id, which the file must have. A file with debug information
// is preferred to one without, and files whose path is made of the build-id to those that are found
// by a search. The error is ErrNoModuleFile with what is wrong with the files that exist, or why a
// directory could not be searched.
func (f *ModuleFiles) Find(ctx context.Context, name string, id []byte) (string, error) {
	if len(id) == 0 {
		return "", fmt.Errorf("module %s: %w: its build-id is not known, so that no file can be verified", name, ErrNoModuleFile)
	}
	c := moduleChoice{id: id}
	if c.choose(f.underBuildID(id)) {
		return c.best, nil
	}
	index, err := f.search(ctx)
	if err != nil {
		return "", err
	}
	if c.choose(index[canonicalModule(name)]) || c.best != "" {
		return c.best, nil
	}
	return "", f.notFound(name, c.refused)
}

// underBuildID returns the files whose path is made of a build-id.
func (f *ModuleFiles) underBuildID(id []byte) []string {
	var paths []string
	for _, dir := range append(slices.Clone(f.dirs), "/usr/lib/debug") {
		path := BuildIDFile(dir, id)
		if _, err := os.Stat(path); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

// moduleChoice selects a file for a module.
type moduleChoice struct {
	id      []byte
	best    string // "" for none
	refused []string
}

// choose checks files until one has debug information, and reports whether one has.
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

func (f *ModuleFiles) notFound(name string, refused []string) error {
	if len(refused) == 0 {
		return fmt.Errorf("module %s: %w: there is no %s.ko in %s", name, ErrNoModuleFile, name,
			strings.Join(append(f.dirs[:len(f.dirs):len(f.dirs)], f.usual...), ", "))
	}
	return fmt.Errorf("module %s: %w: %s", name, ErrNoModuleFile, strings.Join(refused, "; "))
}

// checkModuleFile opens a file and compares its build-id.
func checkModuleFile(path string, id []byte) (*ModuleFile, error) {
	if how, ok := unpackedBy[filepath.Ext(path)]; ok {
		return nil, fmt.Errorf("%s is compressed, and gdb cannot load compressed files: unpack it with %s", path, how)
	}
	file, err := OpenModuleFile(path)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	if !bytes.Equal(file.BuildID, id) {
		return nil, fmt.Errorf("%s is from another build: its build-id is %x, memory has %x", path, file.BuildID, id)
	}
	return file, nil
}

// unpackedBy are the commands that unpack compressed files and keep the original.
var unpackedBy = map[string]string{".xz": "unxz -k", ".zst": "unzstd", ".gz": "gunzip -k"}

// search returns the paths of all module files by the names of the modules.
func (f *ModuleFiles) search(ctx context.Context) (map[string][]string, error) {
	select {
	case f.searching <- struct{}{}:
		defer func() { <-f.searching }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if f.index != nil {
		return f.index, nil
	}
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
	f.index = index
	return index, nil
}

// searchModules adds the files below a directory. Subdirectories that cannot be read are skipped.
func searchModules(ctx context.Context, dir string, index map[string][]string) error {
	root, err := filepath.EvalSymlinks(dir) // WalkDir does not follow links
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

// canonicalModule returns a module's name as the kernel has it: file names have - in place of _.
func canonicalModule(name string) string { return strings.ReplaceAll(name, "-", "_") }

// moduleOfFile returns the name of a module, given the name of its file.
func moduleOfFile(file string) (string, bool) {
	if _, ok := unpackedBy[filepath.Ext(file)]; ok {
		file = strings.TrimSuffix(file, filepath.Ext(file))
	}
	name, ok := strings.CutSuffix(strings.TrimSuffix(file, ".debug"), ".ko")
	return canonicalModule(name), ok && name != ""
}
