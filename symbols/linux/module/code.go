// Package module reads the loadable modules of a Linux kernel from its memory: what they are, where
// their code and data are, and their symbols, types and unwind tables.
package module

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/kmem"
	"physgdb/symbols/orc"
)

// Modules reads the modules of a kernel when they are first needed. It implements [linux.Code].
type Modules struct {
	k      *linux.Kernel
	list   kmem.Lazy[*List]
	types  kmem.Lazy[*typePlaces]
	tables quota
}

// New returns the reader of the modules of k, for [linux.Options].
func New(k *linux.Kernel) linux.Code { return &Modules{k: k} }

// Read returns the modules that the kernel had loaded. They are read once. The kernel must have
// been found with [New] in its options. The error is for a list of which nothing can be read; see
// [List.Damage] for damage of parts.
func Read(ctx context.Context, k *linux.Kernel) (*List, error) {
	ms, ok := k.Code.(*Modules)
	if !ok {
		return nil, errors.New("the modules of this kernel are not read")
	}
	return ms.read(ctx)
}

// Symbolize implements [linux.Code].
func (ms *Modules) Symbolize(ctx context.Context, addr uint64) (p linux.Place, found bool, err error) {
	list, err := ms.read(ctx)
	if err != nil {
		return p, false, err
	}
	m := list.At(addr)
	if m == nil {
		return p, false, nil
	}
	known, err := m.Symbols(ctx)
	if err != nil {
		return p, false, err
	}
	sym, off, ok := known.At(addr)
	if !ok {
		return p, false, fmt.Errorf("%w at %#x, which is in module %s", linux.ErrNoSymbol, addr, m.Name)
	}
	return linux.Place{Symbol: sym, Offset: off, Module: m.Name}, true, nil
}

// FrameRule implements [linux.Code]. Modules have ORC tables if the kernel has one.
func (ms *Modules) FrameRule(
	ctx context.Context, kernel symbols.Unwinder, pc uint64,
) (rule symbols.FrameRule, found bool, err error) {
	kernelTable, ok := kernel.(*orc.Table)
	if !ok {
		return rule, false, nil
	}
	list, err := ms.read(ctx)
	if err != nil {
		return rule, false, err
	}
	m := list.At(pc)
	if m == nil {
		return rule, false, nil
	}
	table, err := m.Unwinder(ctx, kernelTable.Format())
	if err != nil {
		return rule, false, err
	}
	rule, found = table.At(pc)
	return rule, found, nil
}

// Areas implements [linux.Code].
func (ms *Modules) Areas(ctx context.Context) ([]linux.Area, error) {
	list, err := ms.read(ctx)
	if err != nil {
		return nil, err
	}
	var found []linux.Area
	for _, m := range list.All {
		// Before 6.4 there are two regions: the text and all the rest, which includes read-only
		// data.
		apart := slices.ContainsFunc(m.Regions, func(r Region) bool { return r.Name == "rodata" })
		for _, r := range m.Regions {
			name := m.Name
			if apart || r.Text {
				name += " ." + r.Name
			}
			found = append(found, linux.PagesOf(name, r.Base, r.Base+r.Size-1))
		}
	}
	return found, nil
}
