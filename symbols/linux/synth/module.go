package synth

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"physgdb/symbols/linux/module"

	"physgdb/symbols"
	"physgdb/symbols/elfsynth"
	"physgdb/symbols/linux"
)

// Module reads what the kernel k keeps about a module: its symbols, types and unwind table, at the
// addresses where it runs. base is the kernel's BTF, which that of modules extends, or nil. missing
// says what could not be read. The error is ctx's.
func Module(ctx context.Context, k *linux.Kernel, m *module.Module, base []byte) (
	p *elfsynth.Program, missing []error, err error) {
	p = &elfsynth.Program{Name: m.Name, BaseBTF: base}
	for _, r := range m.Regions {
		p.Sections = append(p.Sections, elfsynth.Section{
			Name: "." + r.Name, Addr: r.Base, Size: r.Size, Write: !r.Text, Exec: r.Text,
		})
	}
	slices.SortFunc(p.Sections, func(a, b elfsynth.Section) int { return cmp.Compare(a.Addr, b.Addr) })
	if names, err := m.Symbols(ctx); err == nil {
		p.Symbols = slices.DeleteFunc(slices.Clone(names.All), func(s symbols.Symbol) bool { return module.IsMappingSymbol(s.Name) })
		missing = append(missing, names.Damage...)
	} else {
		missing = append(missing, err)
	}
	if base != nil {
		if p.BTF, err = m.ReadBTF(ctx); err != nil {
			missing = append(missing, fmt.Errorf("types of module %s: %w", m.Name, err))
		}
	}
	if p.FramePointers, err = k.FramePointers(ctx); err == nil && !p.FramePointers {
		p.ORC, err = m.ReadORC(ctx)
	}
	if err != nil {
		missing = append(missing, err)
	}
	return p, missing, ctx.Err()
}
