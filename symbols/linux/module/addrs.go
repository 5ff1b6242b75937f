package module

import (
	"context"
	"debug/elf"
	"fmt"
	"strings"

	"physgdb/internal/plain"
)

// SectionAddresses returns where the sections of a module's file are in memory: each that has SHF_ALLOC, empty ones
// included, in the order of the file, as gdb wants them (rules for its <library> list). Those that the kernel does not
// keep, or freed once the module had started, are given addresses that no machine can map, each its own: code that is
// gone must not lend its names to what came to lie in its place. The error tells why gdb must not be given the list.
func (m *Module) SectionAddresses(ctx context.Context, path string, sections []elf.SectionHeader) ([]Section, error) {
	known, err := m.Sections(ctx)
	if err != nil {
		return nil, err
	}
	if len(known) == 0 {
		return nil, fmt.Errorf("module %s: the kernel does not tell where its sections lie", m.Name)
	}
	where := map[string][]uint64{}
	for _, s := range known {
		where[s.Name] = append(where[s.Name], s.Addr)
	}
	spare := m.spareAddresses()
	unplaced := ""
	var placed []Section
	for _, s := range sections {
		if s.Flags&elf.SHF_ALLOC == 0 {
			if unplaced == "" && countedByGDB(s.Type) {
				unplaced = s.Name
			}
			continue
		}
		if unplaced != "" { // gdb counts one kind of section in the list, and looks another up in it
			return nil, fmt.Errorf("%s: section %s, which has no address, stands before %s: gdb would mix them up",
				path, unplaced, s.Name)
		}
		addr, ok := m.sectionAddr(&s, where)
		if !ok {
			return nil, fmt.Errorf("%s: where section %s lies in memory is not known", path, s.Name)
		}
		if addr == 0 {
			addr = spare.take(s.Size)
		}
		placed = append(placed, Section{s.Name, addr})
	}
	return placed, nil
}

// countedByGDB reports whether a section counts for gdb, or rather for BFD, which knows neither relocations nor the tables
// of symbols as sections.
func countedByGDB(t elf.SectionType) bool {
	switch t {
	case elf.SHT_NULL, elf.SHT_RELA, elf.SHT_REL, elf.SHT_SYMTAB, elf.SHT_STRTAB:
		return false
	}
	return true
}

// perCPUSection holds a module's per-CPU variables. The kernel copies it for each CPU, and does not keep the original.
const perCPUSection = ".data..percpu"

// sectionAddr takes the address of a section, or 0 if it is nowhere. It is false if the section must be somewhere. What the
// kernel reads as it loads a module and then drops (.modinfo, __versions) can be neither written nor executed.
func (m *Module) sectionAddr(s *elf.SectionHeader, where map[string][]uint64) (uint64, bool) {
	if left := where[s.Name]; s.Size > 0 && len(left) > 0 {
		where[s.Name] = left[1:]
		return m.live(left[0]), true
	}
	if s.Name == perCPUSection && m.PerCPU != 0 {
		return m.PerCPU, true
	}
	return 0, s.Size == 0 || s.Flags&(elf.SHF_WRITE|elf.SHF_EXECINSTR) == 0
}

// live returns an address if it lies in memory that the module still has, or else 0.
func (m *Module) live(addr uint64) uint64 {
	if m.Contains(addr) {
		return addr
	}
	return 0
}

// unmappedAddrs gives out addresses that no machine can map.
type unmappedAddrs struct{ next uint64 }

// maxUnmapped bounds the room for one section, in bytes. Sections that are not kept are smaller.
const maxUnmapped = 1 << 20

// spareAddresses are not canonical: bit 56 differs from those above it. As each module has a page of its own among the
// 2 GiB for modules (mm.rst in the kernel's Documentation), the page's number tells those of one module from another's.
func (m *Module) spareAddresses() *unmappedAddrs {
	const nowhere, page, span, room = 1 << 56, 1 << 12, 1 << 31, 256 * maxUnmapped
	return &unmappedAddrs{nowhere + m.Base()%span/page*room}
}

// take returns room for size bytes.
func (s *unmappedAddrs) take(size uint64) uint64 {
	const align = 1 << 12
	addr := s.next
	s.next += min(size, maxUnmapped)&^(align-1) + align
	return addr
}

// AddSymbolFile writes the command by which gdb loads the module's symbols from a file that the user has and physgdb has
// not: NAME.ko. The file must be relocatable in the strict sense; see [debuginfo.ModuleFile].
func (m *Module) AddSymbolFile(ctx context.Context) (string, error) {
	sections, err := m.Sections(ctx)
	if err != nil {
		return "", err
	}
	if len(sections) == 0 {
		return "", fmt.Errorf("module %s: the kernel does not tell where its sections lie", m.Name)
	}
	spare := m.spareAddresses()
	var b strings.Builder
	fmt.Fprintf(&b, "add-symbol-file %s.ko", plain.Name(m.Name))
	for _, s := range append(sections[:len(sections):len(sections)], m.unlisted()...) {
		switch {
		case s.Name == ".symtab" || s.Name == ".strtab":
			continue // loaded by the kernel, yet no sections for gdb
		case !plain.IsName(strings.TrimPrefix(s.Name, ".")):
			continue // damaged: no word of a command
		case s.Name != perCPUSection:
			s.Addr = m.live(s.Addr)
		}
		if s.Addr == 0 {
			s.Addr = spare.take(maxUnmapped)
		}
		fmt.Fprintf(&b, " -s %s %#x", s.Name, s.Addr)
	}
	return b.String(), nil
}

// unlisted are the sections that files have and the kernel does not tell of. gdb would put them at 0, where per-CPU
// variables are.
func (m *Module) unlisted() []Section {
	unlisted := []Section{{Name: ".modinfo"}, {Name: "__versions"}}
	if m.PerCPU != 0 {
		unlisted = append(unlisted, Section{perCPUSection, m.PerCPU})
	}
	return unlisted
}
