package host

import (
	"cmp"
	"context"
	"errors"

	"physgdb/bridge"
	"physgdb/symbols"
	"physgdb/symbols/linux"
)

// Symbols that tell one vmlinux from another by where they are. The banner alone does not: it is near the start of
// .rodata, which is aligned to 2 MiB, so that kernels of the next build often have it at the same place. The notes stand
// at the end of .rodata, and move with every byte of it (include/asm-generic/vmlinux.lds.h).
const (
	bannerSymbol = "linux_banner" // init/version.c
	notesStart   = "__start_notes"
	notesStop    = "__stop_notes"
)

func landmarks() []string { return []string{bannerSymbol, notesStart, notesStop, "panic", "init_task"} }

// errMisfit says that gdb's vmlinux is not that of this kernel, or not where this kernel is.
var errMisfit = errors.New("does not fit")

// checkFit compares what gdb believes, which found the landmarks at these addresses, with what is there. Where the user
// gave physgdb the vmlinux, every address must be equal; and in any case memory must hold what they promise. Any error but
// errMisfit means that it could not be found out.
func (m *Machine) checkFit(ctx context.Context, found map[string]uint64) error {
	for name, addr := range found {
		if want, ok := m.Kernel.Addr(name); ok && addr != want {
			return errMisfit
		}
	}
	banner, err := m.readLandmark(ctx, found[bannerSymbol], uint64(len(linux.BannerStart)))
	if err != nil || string(banner) != linux.BannerStart {
		return cmp.Or(err, errMisfit)
	}
	notes, err := m.readLandmark(ctx, found[notesStart], found[notesStop]-found[notesStart])
	if err != nil || symbols.BuildID(notes) == nil {
		return cmp.Or(err, errMisfit)
	}
	return nil
}

// readLandmark reads what gdb believes to be at addr. If nothing is mapped there, gdb's vmlinux does not fit.
func (m *Machine) readLandmark(ctx context.Context, addr, size uint64) ([]byte, error) {
	const most = 64 << 10 // bytes; the notes of a kernel have some 500
	if size > most {
		return nil, errMisfit
	}
	p := make([]byte, size)
	_, err := m.Kernel.Space.ReadMemory(ctx, addr, p)
	if silent := errors.Is(err, bridge.ErrTimeout) || ctx.Err() != nil; err != nil && !silent {
		return nil, errMisfit
	}
	return p, err
}
