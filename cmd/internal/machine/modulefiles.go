package machine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"physgdb/cmd/internal/kept"
	"physgdb/internal/plain"
	"physgdb/symbols/debuginfo"
	"physgdb/symbols/elfsynth"
	"physgdb/symbols/linux/module"
	"physgdb/symbols/linux/synth"
)

// File is the content of a symbol file.
type File interface {
	io.ReaderAt
	Size() int64 // bytes
}

// SymbolFile is a file with symbols of code outside the kernel's image, and where that code is.
type SymbolFile struct {
	// Name is the path of a file on this computer, or a name below [MemoryDir].
	Name string
	// Sections has the virtual address of each SHF_ALLOC section, in the order of the file. It is
	// empty for a file below MemoryDir, whose addresses are those at which the code ran.
	Sections []uint64
	// Base is the lowest virtual address of the code, for a file below MemoryDir.
	Base uint64
	// Open makes a file below MemoryDir. It is nil for a file on this computer.
	Open func(context.Context) (File, error)
}

// MemoryDir begins the names of files that are made from the machine's memory. Debuggers show these
// names.
const MemoryDir = "/from-memory/"

// SymbolFiles returns the symbol files of the modules, of the code that the kernel made at run
// time, and of addresses without code that were called. The error is ctx's: what cannot be read is
// left out and logged.
func (m *Machine) SymbolFiles(ctx context.Context) ([]SymbolFile, error) {
	modules, err := module.Read(ctx, m.Kernel)
	if err != nil {
		m.Log.Warn("the modules cannot be listed", "why", err)
		return nil, ctx.Err()
	}
	var all []SymbolFile
	names := moduleFiles(modules.All)
	for _, md := range modules.All {
		f, err := m.ModuleFile(ctx, md)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			m.Log.Info("the file of a module is made from memory; see: monitor modules", "module", md.Name, "why", err)
			f = m.syntheticModule(md, names[md])
		}
		all = append(all, *f)
	}
	generated, err := m.generatedCode(ctx)
	if err != nil {
		return nil, err
	}
	if generated != nil {
		all = append(all, *generated)
	}
	return m.withWildCalls(ctx, all)
}

// withWildCalls adds a file for each address without code that was called, so that debuggers find
// the caller.
func (m *Machine) withWildCalls(ctx context.Context, all []SymbolFile) ([]SymbolFile, error) {
	wild, err := m.Unwinder.WildCalls(ctx)
	if err != nil {
		m.Log.Info("calls to addresses without code cannot be found", "error", err)
		return all, ctx.Err()
	}
	for _, pc := range wild {
		all = append(all, SymbolFile{
			Name: fmt.Sprintf("%sno-code-%#x", MemoryDir, pc), Base: pc,
			Open: func(context.Context) (File, error) { return bytes.NewReader(elfsynth.BuildNoCode(pc)), nil },
		})
	}
	return all, nil
}

// moduleFile returns the name of the file of a module.
func moduleFile(module string) string { return plain.Name(module) + ".ko" }

// moduleFiles returns the names of the files of modules. In damaged memory several modules may have
// one name: the files of all but the first then have the module's address in their name.
func moduleFiles(modules []*module.Module) map[*module.Module]string {
	names := map[*module.Module]string{}
	taken := map[string]bool{}
	for _, md := range modules {
		name := moduleFile(md.Name)
		if taken[name] {
			name = moduleFile(fmt.Sprintf("%#x-%s", md.Addr, md.Name))
		}
		names[md], taken[name] = name, true
	}
	return names
}

// syntheticModule returns the file of a module, of that name, that is made from memory when it is
// opened.
func (m *Machine) syntheticModule(md *module.Module, name string) *SymbolFile {
	lowest := md.Base()
	for _, r := range md.Regions {
		lowest = min(lowest, r.Base)
	}
	return &SymbolFile{
		Name: MemoryDir + name, Base: lowest,
		Open: func(ctx context.Context) (File, error) { return m.openModule(ctx, md) },
	}
}

// openModule opens the synthetic symbol file of a module. It is made once.
func (m *Machine) openModule(ctx context.Context, md *module.Module) (File, error) {
	id, _ := md.BuildID(ctx) // not every module has one
	name := fmt.Sprintf("%s %#x %#x %x", md.Name, md.Addr, md.Base(), id)
	return m.made.open(ctx, name, func() (File, error) { return m.makeModule(ctx, md) })
}

// makeModule makes the synthetic symbol file of a module.
func (m *Machine) makeModule(ctx context.Context, md *module.Module) (File, error) {
	types, err := m.Kernel.ReadBTF(ctx)
	if err != nil {
		types.Data = nil // then the module has no types either
	}
	program, missing, err := synth.Module(ctx, m.Kernel, md, types.Data)
	if err != nil {
		return nil, err
	}
	content, left, err := elfsynth.Build(ctx, program)
	if err != nil {
		return nil, err
	}
	for _, why := range append(missing, left...) {
		m.Log.Info("debug information of a module in memory is incomplete", "module", md.Name, "missing", why)
	}
	return bytes.NewReader(content), nil
}

// ModuleFile returns the file of a module on this computer, in the form in which debuggers can load
// it.
func (m *Machine) ModuleFile(ctx context.Context, md *module.Module) (*SymbolFile, error) {
	id, err := md.BuildID(ctx)
	if err != nil {
		return nil, err
	}
	path, err := m.files.Find(ctx, md.Name, id)
	if err != nil {
		return nil, err
	}
	file, err := debuginfo.OpenModuleFile(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	sections, err := md.SectionAddresses(ctx, file.Path, file.Sections)
	if err != nil {
		return nil, err
	}
	if path, err = loadable(path, md.Name, file, m.cacheLimit); err != nil {
		return nil, err
	}
	f := &SymbolFile{Name: path}
	for _, section := range sections {
		f.Sections = append(f.Sections, section.Addr)
	}
	return f, nil
}

// SaveModules writes the synthetic symbol files of the modules into a directory, and that of the
// code that the kernel made at run time, and returns their paths. Their addresses are those at
// which the code ran.
func (m *Machine) SaveModules(ctx context.Context, dir string) ([]string, error) {
	if err := m.NeedSymbols(); err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	list, err := module.Read(ctx, m.Kernel)
	if err != nil {
		return nil, fmt.Errorf("modules: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var paths []string
	names := moduleFiles(list.All)
	for _, md := range list.All {
		file, err := m.makeModule(ctx, md)
		if err != nil {
			return paths, err
		}
		path := filepath.Join(dir, names[md])
		if err := kept.WriteFile(path, io.NewSectionReader(file, 0, file.Size())); err != nil {
			return paths, err
		}
		paths = append(paths, path)
	}
	path, err := m.saveGenerated(ctx, dir)
	if err != nil {
		return paths, err
	}
	if path != "" {
		paths = append(paths, path)
	}
	return paths, NewDamageError("modules", list.Damage)
}

// loadable returns the path of a module's file as debuggers can load it: its own, or that of a copy
// in the user's cache, whose limit is that of [Options]. The sections of newer files do not all
// begin at address 0, and gdb 13 to 18 then misplace the debug information of all of them.
func loadable(path, name string, file *debuginfo.ModuleFile, limit int64) (string, error) {
	if !file.Moved {
		return path, nil
	}
	copied, err := loadableCopy(name, file, limit)
	if err != nil {
		return "", fmt.Errorf("%s needs a copy for gdb: %w", path, err)
	}
	return copied, nil
}

func loadableCopy(name string, file *debuginfo.ModuleFile, limit int64) (string, error) {
	store, err := kept.Open(limit)
	if err != nil {
		return "", err
	}
	key, base := fmt.Sprintf("%x", file.BuildID), moduleFile(name)
	e, err := store.Get(kept.Modules, key, base)
	if err != nil || e.Size != file.Size() {
		if e, err = store.Put(kept.Modules, key, base, io.NewSectionReader(file, 0, file.Size()), nil); err != nil {
			return "", err
		}
	}
	release, err := e.Use()
	if err != nil {
		return "", err
	}
	release()
	return e.Path, nil
}

// Release returns the kernel's release, as uname -r prints it, or "".
func (m *Machine) Release(ctx context.Context) string {
	return releaseIn(m.Kernel.Banner(ctx))
}

// releaseIn returns the release in a kernel's banner, "Linux version RELEASE (…", or "".
func releaseIn(banner string) string {
	words := strings.Fields(banner)
	if len(words) < 3 {
		return ""
	}
	return words[2]
}
