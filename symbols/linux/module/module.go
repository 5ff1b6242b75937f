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
	// All of them, the latest loaded first, as in /proc/modules.
	All []*Module
	// Damage tells why some may be missing, or what is not known about them.
	Damage []error

	kmem.Timeouts
}

// Module is a module of the kernel (struct module, include/linux/module.h). Addresses are those in the running kernel.
// What it takes more reads to know is read when it is first asked for.
type Module struct {
	Name    string
	Addr    uint64 // of its struct module
	State   State
	Regions []Region    // its memory, text first; what was freed once it had started is not among it
	Taint   linux.Taint // what it did to the kernel's
	// Refs is how many hold it; -1 if this kernel does not count them, or if the module is being removed. UsedBy are the
	// modules among them.
	Refs   int
	UsedBy []string
	// Permanent says that the module cannot be removed, as it has no function for that.
	Permanent bool
	PerCPU    uint64 // offset of its per-CPU variables (section .data..percpu), or 0

	owner    *Modules
	kallsyms uint64 // where its struct mod_kallsyms lies; 0 if there is none, as with the others
	attrs    uint64 // struct module_sect_attrs
	buildID  []byte // empty if the kernel does not keep it
	orc      orcPlace

	symbols  kmem.Lazy[*Symbols]
	sections kmem.Lazy[[]Section]
	noteID   kmem.Lazy[[]byte]
	unwinder kmem.Lazy[*orc.Table]
}

// State is how far a module has come (enum module_state).
type State uint8

// States of a module.
const (
	Live State = iota
	Coming
	Going
	Unformed
)

// String names the state as /proc/modules does.
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

// Region is one stretch of a module's memory.
type Region struct {
	Name string // text, data, rodata…
	Base uint64
	Size uint64 // bytes
	Text bool   // holds code
	Init bool   // freed once the module has started
}

func (r *Region) contains(addr uint64) bool { return addr >= r.Base && addr-r.Base < r.Size }

// orcPlace is where a module's table of stack frames lies.
type orcPlace struct {
	ips, entries uint64
	count        uint64
}

// Base returns where the module's text begins, or 0 if it has none.
func (m *Module) Base() uint64 {
	if len(m.Regions) == 0 {
		return 0
	}
	return m.Regions[0].Base
}

// Size returns how much memory the module has, in bytes.
func (m *Module) Size() uint64 {
	var size uint64
	for i := range m.Regions {
		size += m.Regions[i].Size
	}
	return size
}

// Contains reports whether an address lies in the module's memory.
func (m *Module) Contains(addr uint64) bool { return m.region(addr) != nil }

// region returns the stretch of the module's memory that an address lies in, or nil.
func (m *Module) region(addr uint64) *Region {
	for i := range m.Regions {
		if m.Regions[i].contains(addr) {
			return &m.Regions[i]
		}
	}
	return nil
}

// inside checks that an array of a module lies in the module's memory.
func (m *Module) inside(what string, addr, count, size uint64) error {
	r := m.region(addr)
	if r == nil || count > (r.Base+r.Size-addr)/size {
		return fmt.Errorf("%s of module %s: %d entries at %#x do not lie in its memory", what, m.Name, count, addr)
	}
	return nil
}

// At returns the module whose memory an address lies in, or nil.
func (l *List) At(addr uint64) *Module {
	for _, m := range l.All {
		if m.Contains(addr) {
			return m
		}
	}
	return nil
}

// Named returns the module of that name, or nil. File names have - where the kernel has _: they are one.
func (l *List) Named(name string) *Module {
	name = moduleName(name)
	i := slices.IndexFunc(l.All, func(m *Module) bool { return moduleName(m.Name) == name })
	if i < 0 {
		return nil
	}
	return l.All[i]
}

func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Unwinder returns the module's table of stack frames. format is that of the kernel's own.
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

// readORC reads the module's table of stack frames as it is.
func (m *Module) readORC(ctx context.Context) (ips, entries []byte, err error) {
	const ipSize, entrySize = 4, 6 // bytes; struct orc_entry, arch/x86/include/asm/orc_types.h
	const most = 1 << 20           // entries; a whole kernel has some 500000
	n := m.orc.count
	if n == 0 {
		return nil, nil, fmt.Errorf("module %s: the kernel has no ORC table of it", m.Name)
	}
	if n > most {
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

// ReadORC reads the module's ORC table, whose format is that of the kernel's own.
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
