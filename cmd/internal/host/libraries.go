package host

import (
	"context"
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
	l := gdbstub.Library{Name: path}
	for _, section := range sections {
		l.Sections = append(l.Sections, section.Addr)
	}
	return l, nil
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
