package module

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"physgdb/symbols/linux"

	"physgdb/symbols"
	"physgdb/symbols/linux/kmem"
	"physgdb/symbols/orc"
)

// List is the modules that a kernel had loaded.
type List struct {
	// All are the modules, the last loaded first, as in /proc/modules.
	All []*Module
	// Damage says why modules or attributes of them may be missing.
	Damage []error

	kmem.Timeouts
}

// Module is a kernel module (struct module, include/linux/module.h). Addresses are those in the
// running kernel. Symbols, sections, types and unwind tables are read when they are first needed.
type Module struct {
	Name    string
	Addr    uint64 // of its struct module
	State   State
	Regions []Region    // its memory, text first; without memory that was freed after it started
	Taint   linux.Taint // the taint flags that it set
	// Refs is the number of references to the module; -1 if this kernel does not count them, or if
	// the module is being removed. UsedBy are the modules that use it.
	Refs   int
	UsedBy []string
	// Permanent reports whether the module cannot be removed, because it has no exit function.
	Permanent bool
	PerCPU    uint64 // offset of its per-CPU variables (section .data..percpu), or 0

	owner    *Modules
	kallsyms uint64 // address of its struct mod_kallsyms; 0 if there is none, as with attrs
	attrs    uint64 // address of its struct module_sect_attrs
	buildID  []byte // empty if the kernel does not keep it
	orc      orcPlace

	symbols  kmem.Lazy[*Symbols]
	sections kmem.Lazy[[]Section]
	noteID   kmem.Lazy[[]byte]
	unwinder kmem.Lazy[*orc.Table]
}

// State is the state of a module (enum module_state).
type State uint8

// States of a module.
const (
	Live State = iota
	Coming
	Going
	Unformed
)

// String returns the name of the state in /proc/modules.
func (s State) String() string {
	switch s {
	case Live:
		return "Live"
	case Coming:
		return "Loading"
	case Going:
		return "Unloading"
	case Unformed:
		return "Unformed"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Region is a range of a module's memory.
type Region struct {
	Name string // text, data, rodata…
	Base uint64
	Size uint64 // bytes
	Text bool   // holds code
	Init bool   // freed after the module has started
}

func (r *Region) contains(addr uint64) bool { return addr >= r.Base && addr-r.Base < r.Size }

// orcPlace is the place of a module's ORC table.
type orcPlace struct {
	ips, entries uint64
	count        uint64
}

// Base returns the address of the module's text, or 0 if it has none.
func (m *Module) Base() uint64 {
	if len(m.Regions) == 0 {
		return 0
	}
	return m.Regions[0].Base
}

// Size returns the size of the module's memory in bytes.
func (m *Module) Size() uint64 {
	var size uint64
	for i := range m.Regions {
		size += m.Regions[i].Size
	}
	return size
}

// Contains reports whether an address is in the module's memory.
func (m *Module) Contains(addr uint64) bool { return m.region(addr) != nil }

// region returns the region of the module that contains an address, or nil.
func (m *Module) region(addr uint64) *Region {
	for i := range m.Regions {
		if m.Regions[i].contains(addr) {
			return &m.Regions[i]
		}
	}
	return nil
}

// inside verifies that an array of a module is in the module's memory.
func (m *Module) inside(what string, addr, count, size uint64) error {
	r := m.region(addr)
	if r == nil || count > (r.Base+r.Size-addr)/size {
		return fmt.Errorf("%s of module %s: %d entries at %#x do not lie in its memory", what, m.Name, count, addr)
	}
	return nil
}

// At returns the module whose memory contains an address, or nil.
func (l *List) At(addr uint64) *Module {
	for _, m := range l.All {
		if m.Contains(addr) {
			return m
		}
	}
	return nil
}

// Named returns the module with a name, or nil. It treats - and _ as equal: file names have - in
// place of _.
func (l *List) Named(name string) *Module {
	name = moduleName(name)
	i := slices.IndexFunc(l.All, func(m *Module) bool { return moduleName(m.Name) == name })
	if i < 0 {
		return nil
	}
	return l.All[i]
}

func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Unwinder returns the module's unwind table. format is that of the kernel's own table.
func (m *Module) Unwinder(ctx context.Context, format orc.Format) (*orc.Table, error) {
	return m.unwinder.Get(ctx, func(ctx context.Context) (*orc.Table, error) { return m.readUnwinder(ctx, format) })
}

func (m *Module) readUnwinder(ctx context.Context, format orc.Format) (*orc.Table, error) {
	ips, entries, err := m.readORC(ctx)
	if err != nil {
		return nil, err
	}
	if err := m.owner.tables.take(len(ips) + len(entries)); err != nil {
		return nil, fmt.Errorf("ORC table of module %s: %w", m.Name, err)
	}
	orc, err := orc.New(m.orc.ips, ips, entries, format)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", m.Name, err)
	}
	return orc, nil
}

// readORC reads the module's ORC table.
func (m *Module) readORC(ctx context.Context) (ips, entries []byte, err error) {
	const ipSize, entrySize = 4, 6 // bytes; struct orc_entry, arch/x86/include/asm/orc_types.h
	const maxEntries = 1 << 20     // entries; a whole kernel has some 500000
	n := m.orc.count
	if n == 0 {
		return nil, nil, fmt.Errorf("module %s: the kernel has no ORC table of it", m.Name)
	}
	if n > maxEntries {
		return nil, nil, fmt.Errorf("ORC table of module %s: %d entries: damaged", m.Name, n)
	}
	if err := m.inside("ORC table", m.orc.ips, n, ipSize); err != nil {
		return nil, nil, err
	}
	if err := m.inside("ORC table", m.orc.entries, n, entrySize); err != nil {
		return nil, nil, err
	}
	read, err := kmem.ReadSparse(ctx, m.owner.k.Space, kmem.Span{Addr: m.orc.ips, Size: int(n * ipSize)}, kmem.Span{Addr: m.orc.entries, Size: int(n * entrySize)})
	if err != nil {
		return nil, nil, err
	}
	if _, err := read.Part(0, len(read.Data)); err != nil {
		return nil, nil, fmt.Errorf("ORC table of module %s: %w", m.Name, err)
	}
	return read.Data[:n*ipSize], read.Data[n*ipSize:], nil
}

// ReadORC returns the module's ORC table. Its format is that of the kernel's own table.
func (m *Module) ReadORC(ctx context.Context) (*orc.Sections, error) {
	kernel, err := m.owner.k.Unwinder(ctx)
	if err != nil {
		return nil, err
	}
	table, ok := kernel.(*orc.Table)
	if !ok {
		return nil, fmt.Errorf("module %s: the format of its ORC table is not known, as the kernel has none", m.Name)
	}
	ips, entries, err := m.readORC(ctx)
	if err != nil {
		return nil, err
	}
	return &orc.Sections{
		IPs: symbols.Blob{Addr: m.orc.ips, Data: ips}, Entries: symbols.Blob{Addr: m.orc.entries, Data: entries},
		Format: table.Format(),
	}, nil
}
