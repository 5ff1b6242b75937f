package host

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"physgdb/cmd/internal/kept"
	"physgdb/gdbstub"
	"physgdb/internal/plain"
	"physgdb/symbols/elffile"
	"physgdb/symbols/elfsynth"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/synth"
)

// Libraries are the loaded modules, for gdb to load by itself: from their files, or what is made of the machine's memory
// where none were found.
func (s *session) Libraries(ctx context.Context) ([]gdbstub.Library, error) {
	s.files = map[string]fileOpener{}
	if s.m.Process != "" || s.m.Kernel.Symbols == nil {
		return nil, nil
	}
	modules, err := s.m.Kernel.Modules(ctx)
	if err != nil {
		s.m.log.Warn("the modules cannot be listed", "why", err)
		return nil, ctx.Err()
	}
	var all []gdbstub.Library
	files := moduleFiles(modules.All)
	for _, md := range modules.All {
		l, err := s.m.library(ctx, md)
		open := func(context.Context) (gdbstub.File, error) { return openOnDisk(l.Name) }
		if err != nil && ctx.Err() == nil {
			s.m.log.Info("the file of a module is made of memory; see: monitor modules", "module", md.Name, "why", err)
			l, open = madeLibrary(md, files[md]), func(ctx context.Context) (gdbstub.File, error) { return s.m.openModule(ctx, md) }
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		all = append(all, l)
		s.files[l.Name] = open
	}
	generated, err := s.generatedLibrary(ctx)
	if err != nil {
		return nil, err
	}
	return s.withWildCalls(ctx, append(all, generated...))
}

// withWildCalls adds a library for each address that is no code and was called, so that debuggers find the caller.
func (s *session) withWildCalls(ctx context.Context, all []gdbstub.Library) ([]gdbstub.Library, error) {
	wild, err := s.m.Kernel.WildCalls(ctx)
	if err != nil {
		s.m.log.Info("calls of what is no code cannot be found", "error", err)
		return all, ctx.Err()
	}
	for _, pc := range wild {
		l := gdbstub.Library{Name: fmt.Sprintf("%sno-code-%#x", madeDir, pc), Segments: []uint64{pc}}
		s.files[l.Name] = func(context.Context) (gdbstub.File, error) { return bytes.NewReader(elfsynth.BuildNoCode(pc)), nil }
		all = append(all, l)
	}
	return all, nil
}

// madeDir stands before the names of files that are made of the machine's memory. gdb shows them, and fetches them from here.
const madeDir = "/from-memory/"

// moduleFile returns the name of the file of a module.
func moduleFile(module string) string { return plain.Name(module) + ".ko" }

// moduleFiles returns the names of the files of modules. Damaged memory may have several modules of one name: all but the first have
// their address in that of their file.
func moduleFiles(modules []*linux.Module) map[*linux.Module]string {
	names := map[*linux.Module]string{}
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

// madeLibrary says where a module is whose file, of that name, is made of memory. Its addresses are those that it runs at.
func madeLibrary(md *linux.Module, file string) gdbstub.Library {
	lowest := md.Base()
	for _, r := range md.Regions {
		lowest = min(lowest, r.Base)
	}
	return gdbstub.Library{Name: madeDir + file, Segments: []uint64{lowest}}
}

// openModule opens the file that is made of what the kernel keeps about a module. It is made once.
func (m *Machine) openModule(ctx context.Context, md *linux.Module) (gdbstub.File, error) {
	id, _ := md.BuildID(ctx) // not every module has one
	name := fmt.Sprintf("%s %#x %#x %x", md.Name, md.Addr, md.Base(), id)
	return m.made.open(ctx, name, func() (gdbstub.File, error) { return m.makeModule(ctx, md) })
}

// makeModule makes a file of what the kernel keeps about a module.
func (m *Machine) makeModule(ctx context.Context, md *linux.Module) (gdbstub.File, error) {
	var types []byte
	if m.vmlinux != nil {
		types, _ = elffile.ReadBTF(m.vmlinux.path) // without it the module has no types; makeVmlinux has said so
	}
	program, missing, err := synth.Module(ctx, m.Kernel, md, types)
	if err != nil {
		return nil, err
	}
	content, left, err := elfsynth.Build(ctx, program)
	if err != nil {
		return nil, err
	}
	for _, why := range append(missing, left...) {
		m.log.Info("memory does not tell all of a module", "module", md.Name, "missing", why)
	}
	return bytes.NewReader(content), nil
}

// library finds a module's file and where its sections are.
func (m *Machine) library(ctx context.Context, module *linux.Module) (gdbstub.Library, error) {
	path, err := m.files.Find(ctx, module)
	if err != nil {
		return gdbstub.Library{}, err
	}
	file, err := linux.OpenModuleFile(path)
	if err != nil {
		return gdbstub.Library{}, err
	}
	defer file.Close()
	sections, err := module.SectionAddresses(ctx, file)
	if err != nil {
		return gdbstub.Library{}, err
	}
	if path, err = loadable(path, module.Name, file, m.cacheLimit); err != nil {
		return gdbstub.Library{}, err
	}
	l := gdbstub.Library{Name: path}
	for _, section := range sections {
		l.Sections = append(l.Sections, section.Addr)
	}
	return l, nil
}

// SaveModules writes files that are made of what the kernel keeps about its modules into a directory, one for each and one for
// the code that the kernel made at run time, and returns their paths. Their addresses are those that the modules run at.
func (m *Machine) SaveModules(ctx context.Context, dir string) ([]string, error) {
	if err := m.needSymbols("modules"); err != nil {
		return nil, err
	}
	list, err := m.Kernel.Modules(ctx)
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
	return paths, listDamage("modules", list.Damage)
}

// loadable returns the path of a module's file as debuggers can load it: its own, or that of a copy in the user's cache, whose limit is as in [Options]. The
// sections of newer files do not all begin at address 0, and gdb 13 to 18 then misplace the debug information of all of them.
func loadable(path, name string, file *linux.ModuleFile, limit int64) (string, error) {
	if !file.Moved {
		return path, nil
	}
	copied, err := loadableCopy(name, file, limit)
	if err != nil {
		return "", fmt.Errorf("%s needs a copy for gdb: %w", path, err)
	}
	return copied, nil
}

func loadableCopy(name string, file *linux.ModuleFile, limit int64) (string, error) {
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

// release returns the kernel's release, as uname -r says it, or "".
func (m *Machine) release(ctx context.Context) string {
	return releaseIn(m.Kernel.Banner(ctx))
}

// releaseIn returns the release that a kernel's banner tells, Linux version RELEASE (…, or "".
func releaseIn(banner string) string {
	words := strings.Fields(banner)
	if len(words) < 3 {
		return ""
	}
	return words[2]
}

// VMCoreInfo is what drgn asks for.
func (s *session) VMCoreInfo(ctx context.Context) ([]byte, error) {
	return s.m.Kernel.VMCoreInfoText(ctx)
}
