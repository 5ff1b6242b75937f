package synth

import (
	"context"
	"fmt"

	"physgdb/mmu"
	"physgdb/symbols/elfsynth"
	"physgdb/symbols/linux"
)

// Generated describes the code that a kernel made at run time: symbols, and how to unwind it, at
// the addresses where it runs.
func Generated(ctx context.Context, k *linux.Kernel, g *linux.Generated) (*elfsynth.Program, error) {
	p := &elfsynth.Program{Name: "generated code"}
	var err error
	if p.Rules, err = g.Rules(ctx, k); err != nil {
		return nil, err
	}
	for _, c := range g.All {
		p.Symbols = append(p.Symbols, c.Symbol)
		first, end := c.Addr&^(mmu.PageSize-1), (c.Addr+c.Size+mmu.PageSize-1)&^(mmu.PageSize-1)
		if n := len(p.Sections) - 1; n >= 0 && first <= p.Sections[n].Addr+p.Sections[n].Size {
			p.Sections[n].Size = max(p.Sections[n].Size, end-p.Sections[n].Addr)
			continue
		}
		p.Sections = append(p.Sections, elfsynth.Section{
			Name: fmt.Sprintf(".text.%d", len(p.Sections)), Addr: first, Size: end - first, Exec: true,
		})
	}
	return p, nil
}
