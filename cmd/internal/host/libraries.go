package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"physgdb/gdbstub"
	"physgdb/symbols/linux"
)

// Libraries are the loaded modules whose files were found here, for gdb to load by itself.
func (s *session) Libraries(ctx context.Context) ([]gdbstub.Library, error) {
	if s.m.Process != "" || s.m.Kernel.Symbols == nil {
		return nil, nil
	}
	modules, err := s.m.Kernel.Modules(ctx)
	if err != nil {
		s.m.log.Warn("the modules cannot be listed", "why", err)
		return nil, ctx.Err()
	}
	var all []gdbstub.Library
	s.told = nil
	for _, m := range modules.All {
		l, err := s.m.library(ctx, m)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			s.m.log.Info("gdb is told nothing of a module; see: monitor modules", "module", m.Name, "why", err)
			continue
		}
		all = append(all, l)
		s.told = append(s.told, l.Name)
	}
	return all, nil
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
	if path, err = loadable(path, module.Name, file); err != nil {
		return gdbstub.Library{}, err
	}
	l := gdbstub.Library{Name: path}
	for _, section := range sections {
		l.Sections = append(l.Sections, section.Addr)
	}
	return l, nil
}

// loadable returns the path of a module's file as debuggers can load it: its own, or that of a copy in the user's cache. The
// sections of newer files do not all begin at address 0, and gdb 13 to 18 then misplace the debug information of all of them.
func loadable(path, name string, file *linux.ModuleFile) (string, error) {
	if !file.Moved {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%s needs a copy for gdb: %w", path, err)
	}
	dir := filepath.Join(cache, "physgdb", "modules", fmt.Sprintf("%x", file.BuildID))
	copied := filepath.Join(dir, name+".ko")
	if info, err := os.Stat(copied); err == nil && info.Size() == file.Size() {
		return copied, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("%s needs a copy for gdb: %w", path, err)
	}
	if err := writeWhole(copied, io.NewSectionReader(file, 0, file.Size())); err != nil {
		return "", fmt.Errorf("%s needs a copy for gdb: %w", path, err)
	}
	return copied, nil
}

// writeWhole writes a file so that nobody ever sees a part of it.
func writeWhole(path string, content io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails where all went well
	_, err = io.Copy(f, content)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// release returns the kernel's release, as uname -r says it, or "".
func (m *Machine) release(ctx context.Context) string {
	words := strings.Fields(m.Kernel.Banner(ctx)) // Linux version RELEASE (…
	if len(words) < 3 {
		return ""
	}
	return words[2]
}

// VMCoreInfo is what drgn asks for.
func (s *session) VMCoreInfo(ctx context.Context) ([]byte, error) {
	return s.m.Kernel.VMCoreInfoText(ctx)
}
