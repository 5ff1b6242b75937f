package host

import (
	"bytes"
	"context"

	"physgdb/symbols"
)

// Symbols that tell one vmlinux from another by where they are. The banner alone does not: it is near the start of
// .rodata, which is aligned to 2 MiB, so that kernels of the next build often have it at the same place. The notes stand
// at the end of .rodata, and move with every byte of it (include/asm-generic/vmlinux.lds.h).
const (
	bannerSymbol = "linux_banner" // init/version.c
	notesStart   = "__start_notes"
	notesStop    = "__stop_notes"
)

// bannerStart is how the string at bannerSymbol starts.
const bannerStart = "Linux version "

func landmarks() []string { return []string{bannerSymbol, notesStart, notesStop, "panic", "init_task"} }

// fits reports whether gdb, which found the landmarks at these addresses, has the vmlinux of this kernel, at its place.
// Where the user gave physgdb the vmlinux, every address must be equal; in any case memory must hold what they promise.
func (m *Machine) fits(ctx context.Context, found map[string]uint64) bool {
	for name, addr := range found {
		if want, ok := m.Kernel.Addr(name); ok && addr != want {
			return false
		}
	}
	return m.hasBanner(ctx, found[bannerSymbol]) && m.hasNotes(ctx, found[notesStart], found[notesStop])
}

func (m *Machine) hasBanner(ctx context.Context, addr uint64) bool {
	p := make([]byte, len(bannerStart))
	_, err := m.Kernel.Space.ReadMemory(ctx, addr, p)
	return err == nil && bytes.Equal(p, []byte(bannerStart))
}

// hasNotes reports whether ELF notes with a build-id lie there.
func (m *Machine) hasNotes(ctx context.Context, start, stop uint64) bool {
	const most = 64 << 10 // bytes; kernels have some 500
	if stop <= start || stop-start > most {
		return false
	}
	p := make([]byte, stop-start)
	_, err := m.Kernel.Space.ReadMemory(ctx, start, p)
	return err == nil && symbols.BuildID(p) != nil
}
