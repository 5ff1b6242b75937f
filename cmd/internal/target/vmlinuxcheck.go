package host

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"

	"physgdb/bridge"
	"physgdb/symbols/elffile"
	"physgdb/symbols/linux"
)

// Symbols that tell one vmlinux from another by where they are. The banner alone does not: it is near the start of
// .rodata, which is aligned to 2 MiB, so that kernels of the next build often have it at the same place. The notes stand
// at the end of .rodata, and move with every byte of it (include/asm-generic/vmlinux.lds.h). lldb does not lend their
// symbols, which are of no type; for it there is a pointer in .bss to the text that the kernel keeps for its dumps.
const (
	bannerSymbol = "linux_banner" // init/version.c
	notesStart   = "__start_notes"
	notesStop    = "__stop_notes"
	dumpText     = "vmcoreinfo_data" // kernel/crash_core.c, kernel/vmcore_info.c
)

func landmarks() []string {
	return []string{bannerSymbol, notesStart, notesStop, dumpText, "panic", "init_task"}
}

// errMisfit says that the debugger's vmlinux is not that of this kernel, or not where this kernel is.
var errMisfit = errors.New("does not fit")

// checkFit compares what the debugger believes, which found the landmarks at these addresses, with what is there. Where the
// user gave physgdb the vmlinux, every address must be equal; and in any case memory must hold what they promise. Any error
// but errMisfit means that it could not be found out.
func (m *Machine) checkFit(ctx context.Context, found map[string]uint64) error {
	for _, name := range landmarks() {
		addr, told := found[name]
		if want, ok := m.Kernel.Addr(name); ok && told && addr != want {
			return errMisfit
		}
	}
	banner, err := m.readLandmark(ctx, found[bannerSymbol], uint64(len(linux.BannerStart)))
	if err != nil || string(banner) != linux.BannerStart {
		return cmp.Or(err, errMisfit)
	}
	if _, told := found[notesStart]; told {
		return m.checkNotes(ctx, found[notesStart], found[notesStop])
	}
	if _, told := found[dumpText]; told || m.Kernel.Symbols == nil {
		return m.checkDumpText(ctx, found[dumpText])
	}
	return nil // of a kernel without such a text: the addresses are right
}

// checkNotes looks for a build-id where the notes should be.
func (m *Machine) checkNotes(ctx context.Context, start, stop uint64) error {
	notes, err := m.readLandmark(ctx, start, stop-start)
	if err != nil || elffile.BuildID(notes) == nil {
		return cmp.Or(err, errMisfit)
	}
	return nil
}

// checkDumpText follows the pointer that should be at addr.
func (m *Machine) checkDumpText(ctx context.Context, addr uint64) error {
	pointer, err := m.readLandmark(ctx, addr, 8)
	if err != nil {
		return err
	}
	text, err := m.readLandmark(ctx, binary.LittleEndian.Uint64(pointer), uint64(len(linux.VMCoreInfoStart)))
	if err != nil || string(text) != linux.VMCoreInfoStart {
		return cmp.Or(err, errMisfit)
	}
	return nil
}

// readLandmark reads what the debugger believes to be at addr. If nothing is mapped there, its vmlinux does not fit.
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
