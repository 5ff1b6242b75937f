package linux

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"physgdb/symbols"
	"physgdb/symbols/elfsynth"
	"physgdb/symbols/orc"
)

// Program reads what the kernel keeps about a module: its symbols, types and stack frames, where they are in the running
// kernel. base are the kernel's own types, on which those of modules build, or nil. What could not be had is told by
// missing.
func (m *Module) Program(ctx context.Context, base []byte) (p *elfsynth.Program, missing []error, err error) {
	p = &elfsynth.Program{Name: m.Name, BaseBTF: base}
	for _, r := range m.Regions {
		p.Sections = append(p.Sections, elfsynth.Section{
			Name: "." + r.Name, Addr: r.Base, Size: r.Size, Write: !r.Text, Exec: r.Text,
		})
	}
	slices.SortFunc(p.Sections, func(a, b elfsynth.Section) int { return cmp.Compare(a.Addr, b.Addr) })
	if names, err := m.Symbols(ctx); err == nil {
		p.Symbols = slices.DeleteFunc(slices.Clone(names.All), func(s symbols.Symbol) bool { return isMappingSymbol(s.Name) })
		missing = append(missing, names.Damage...)
	} else {
		missing = append(missing, err)
	}
	if base != nil {
		if p.BTF, err = m.readTypes(ctx); err != nil {
			missing = append(missing, fmt.Errorf("types of module %s: %w", m.Name, err))
		}
	}
	if p.FramePointers, err = m.k.keepsFramePointers(ctx); err == nil && !p.FramePointers {
		p.ORC, err = m.frames(ctx)
	}
	if err != nil {
		missing = append(missing, err)
	}
	return p, missing, ctx.Err()
}

// frames returns the module's table of stack frames, whose format is that of the kernel's own.
func (m *Module) frames(ctx context.Context) (*elfsynth.ORC, error) {
	kernel, err := m.k.unwindTable(ctx)
	if err != nil {
		return nil, err
	}
	orc, ok := kernel.(*orc.Table)
	if !ok {
		return nil, fmt.Errorf("module %s: the format of its ORC table is not known, as the kernel has none", m.Name)
	}
	ips, entries, err := m.readORC(ctx)
	if err != nil {
		return nil, err
	}
	return &elfsynth.ORC{
		IPs: elfsynth.Blob{Addr: m.orc.ips, Data: ips}, Entries: elfsynth.Blob{Addr: m.orc.entries, Data: entries},
		Format: orc.Format(),
	}, nil
}

// readTypes reads the module's own types.
func (m *Module) readTypes(ctx context.Context) (elfsynth.Blob, error) {
	const most = 8 << 20 // bytes; the largest modules have some 1 MB
	at, err := m.k.moduleTypes(ctx, m.Addr)
	switch {
	case err != nil:
		return elfsynth.Blob{}, err
	case at.size > most:
		return elfsynth.Blob{}, fmt.Errorf("%d bytes: damaged", at.size)
	}
	b := elfsynth.Blob{Addr: at.addr, Data: make([]byte, at.size)}
	if _, err := m.k.Space.ReadMemory(ctx, at.addr, b.Data); err != nil {
		return elfsynth.Blob{}, err // the names of the types are at their end
	}
	return b, nil
}
