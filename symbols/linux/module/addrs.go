package module

import (
	"context"
	"debug/elf"
	"fmt"
	"strings"

	"physgdb/internal/plain"
)

// SectionAddresses returns the addresses in memory of the sections of a module's file, given its
// path and section headers: of each section with SHF_ALLOC, including empty ones, in the order of
// the file, as gdb expects them in its <library> list. Sections that the kernel did not keep, or
// freed after the module started, get distinct addresses that no machine can map, so that code of
// the freed memory is not shown with their symbols. The error says why gdb must not get the list.
func (m *Module) SectionAddresses(ctx context.Context, path string, sections []elf.SectionHeader) ([]Section, error) {
	known, err := m.Sections(ctx)
	if err != nil {
		return nil, err
	}
	if len(known) == 0 {
		return nil, fmt.Errorf("module %s: the addresses of its sections are not known", m.Name)
	}
	where := map[string][]uint64{}
	for _, s := range known {
		where[s.Name] = append(where[s.Name], s.Addr)
	}
	spare := m.unmapped()
	unplaced := ""
	var placed []Section
	for _, s := range sections {
		if s.Flags&elf.SHF_ALLOC == 0 {
			if unplaced == "" && countedByGDB(s.Type) {
				unplaced = s.Name
			}
			continue
		}
		if unplaced != "" { // gdb would pair sections and addresses wrongly
			return nil, fmt.Errorf("%s: section %s, which has no address, precedes %s: gdb would confuse them",
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

// countedByGDB reports whether a section counts for gdb, or rather for BFD, for which relocations
// and symbol tables are not sections.
func countedByGDB(t elf.SectionType) bool {
	switch t {
	case elf.SHT_NULL, elf.SHT_RELA, elf.SHT_REL, elf.SHT_SYMTAB, elf.SHT_STRTAB:
		return false
	}
	return true
}

// perCPUSection contains the per-CPU variables of a module. The kernel copies it for each CPU and
// does not keep the original.
const perCPUSection = ".data..percpu"

// sectionAddr returns the address of a section, or 0 if it is not in memory. ok is false if the
// section must be in memory. Sections that the kernel reads during loading and then drops
// (.modinfo, __versions) are neither writable nor executable.
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

// live returns an address if it is in memory that the module still has, and otherwise 0.
func (m *Module) live(addr uint64) uint64 {
	if m.Contains(addr) {
		return addr
	}
	return 0
}

// unmappedAddrs allocates addresses that no machine can map.
type unmappedAddrs struct{ next uint64 }

// maxUnmapped bounds the address range for one section, in bytes. Sections that are not kept are
// smaller.
const maxUnmapped = 1 << 20

// unmapped returns addresses that are not canonical: bit 56 differs from the bits above it. Each
// module has its own page in the 2 GiB for modules (Documentation/arch/x86/x86_64/mm.rst), whose
// number makes its addresses distinct from those of other modules.
func (m *Module) unmapped() *unmappedAddrs {
	const nowhere, page, span, room = 1 << 56, 1 << 12, 1 << 31, 256 * maxUnmapped
	return &unmappedAddrs{nowhere + m.Base()%span/page*room}
}

// take returns the address of a range of size bytes.
func (s *unmappedAddrs) take(size uint64) uint64 {
	const align = 1 << 12
	addr := s.next
	s.next += min(size, maxUnmapped)&^(align-1) + align
	return addr
}

// AddSymbolFile returns the gdb command that loads the module's symbols from NAME.ko, a file that
// the user has and that was not found. The sections in the file must be at address 0; see
// debuginfo.ModuleFile.
func (m *Module) AddSymbolFile(ctx context.Context) (string, error) {
	sections, err := m.Sections(ctx)
	if err != nil {
		return "", err
	}
	if len(sections) == 0 {
		return "", fmt.Errorf("module %s: the addresses of its sections are not known", m.Name)
	}
	spare := m.unmapped()
	var b strings.Builder
	fmt.Fprintf(&b, "add-symbol-file %s.ko", plain.Name(m.Name))
	for _, s := range append(sections[:len(sections):len(sections)], m.unlisted()...) {
		switch {
		case s.Name == ".symtab" || s.Name == ".strtab":
			continue // loaded by the kernel, but not sections for gdb
		case !plain.IsName(strings.TrimPrefix(s.Name, ".")):
			continue // damaged: not safe in a command
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

// unlisted returns the sections of files that the kernel does not list. gdb would put them at 0,
// where per-CPU variables are.
func (m *Module) unlisted() []Section {
	unlisted := []Section{{Name: ".modinfo"}, {Name: "__versions"}}
	if m.PerCPU != 0 {
		unlisted = append(unlisted, Section{perCPUSection, m.PerCPU})
	}
	return unlisted
}
