package machine

import (
	"context"
	"fmt"
	"slices"

	"physgdb/internal/plain"
	"physgdb/symbols/linux/synth"
)

// Origin says where a kernel's names and types come from.
type Origin string

// The origins of names and types.
const (
	OriginUser    Origin = "user"     // a vmlinux that the user named; its build-id is that in memory
	OriginBuildID Origin = "build-id" // a vmlinux that was found by its build-id
	OriginMemory  Origin = "memory"   // the machine's own memory
	OriginCache   Origin = "cache"    // the memory of another machine with this build-id; see Options.TrustBuildID
)

// SymbolSource describes where the kernel's names and types come from.
type SymbolSource struct {
	Origin  Origin
	Path    string // of the file
	Symbols int
	Missing []error // what could not be read from memory
}

// SymbolSource returns where the kernel's names and types come from, or nil if there are none or a
// debugger lent them.
func (m *Machine) SymbolSource(ctx context.Context) *SymbolSource {
	v := m.vmlinux
	if v == nil {
		return nil
	}
	s := &SymbolSource{Origin: OriginUser, Path: v.path, Symbols: v.Len(), Missing: v.missing}
	switch {
	case v.trusted:
		s.Origin = OriginCache
	case v.made:
		s.Origin = OriginMemory
		if v.path == "" {
			s.Missing = slices.Concat(v.missing, synth.Missing(ctx, m.Kernel))
		}
	case v.found:
		s.Origin = OriginBuildID
	}
	return s
}

// NeedSymbols returns an error if the kernel's symbols are not known.
func (m *Machine) NeedSymbols() error {
	if m.Kernel.Symbols == nil {
		return fmt.Errorf("the kernel's symbols are not known: %s", m.WhyNoSymbols())
	}
	return nil
}

// WhyNoSymbols returns why the kernel's symbols are not known, and what the user can do.
func (m *Machine) WhyNoSymbols() string {
	if m.noVmlinux == nil {
		return "leave out --symbols none"
	}
	return plain.Line(m.noVmlinux.Error()) + "; give --vmlinux FILE"
}

// MissingSymbols returns an error if the kernel's symbols are not known although the user did not
// choose that: without them most commands have nothing to show.
func (m *Machine) MissingSymbols() error {
	if m.Kernel.Symbols != nil || m.noVmlinux == nil {
		return nil
	}
	return fmt.Errorf("the kernel's symbols are not known: %s", m.WhyNoSymbols())
}
