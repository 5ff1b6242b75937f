package target

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"

	"physgdb/bridge"
	"physgdb/cmd/internal/machine"
	"physgdb/symbols/elffile"
	"physgdb/symbols/linux"
)

// Symbols whose addresses differ between builds of a kernel. The banner alone is not enough: it is
// near the start of .rodata, which is aligned to 2 MiB, so that kernels of the next build often
// have it at the same place. The notes are at the end of .rodata, and move with every byte of it
// (include/asm-generic/vmlinux.lds.h). lldb does not lend their symbols, which are of no type; for
// it there is a pointer in .bss to the text that the kernel keeps for its dumps.
const (
	bannerSymbol = "linux_banner" // init/version.c
	notesStart   = "__start_notes"
	notesStop    = "__stop_notes"
	dumpText     = "vmcoreinfo_data" // kernel/crash_core.c, kernel/vmcore_info.c
)

func vmlinuxCheckSymbols() []string {
	return []string{bannerSymbol, notesStart, notesStop, dumpText, "panic", "init_task"}
}

// errMisfit says that the debugger's vmlinux is not that of this kernel, or not where this kernel
// is.
var errMisfit = errors.New("does not fit")

// checkVmlinux compares the addresses at which the debugger found the symbols of
// vmlinuxCheckSymbols with memory. If the user gave physgdb the vmlinux, every address must be
// equal; and in any case memory must hold what they promise. Any error but errMisfit means that it
// could not be found out.
func checkVmlinux(ctx context.Context, m *machine.Machine, found map[string]uint64) error {
	for _, name := range vmlinuxCheckSymbols() {
		addr, given := found[name]
		if want, ok := m.Kernel.Addr(name); ok && given && addr != want {
			return errMisfit
		}
	}
	banner, err := readCheck(ctx, m, found[bannerSymbol], uint64(len(linux.BannerStart)))
	if err != nil || string(banner) != linux.BannerStart {
		return cmp.Or(err, errMisfit)
	}
	if _, given := found[notesStart]; given {
		return checkNotes(ctx, m, found[notesStart], found[notesStop])
	}
	if _, given := found[dumpText]; given || m.Kernel.Symbols == nil {
		return checkDumpText(ctx, m, found[dumpText])
	}
	return nil // of a kernel without such a text: the addresses are right
}

// checkNotes looks for a build-id where the notes should be.
func checkNotes(ctx context.Context, m *machine.Machine, start, stop uint64) error {
	notes, err := readCheck(ctx, m, start, stop-start)
	if err != nil || elffile.BuildID(notes) == nil {
		return cmp.Or(err, errMisfit)
	}
	return nil
}

// checkDumpText follows the pointer that should be at addr.
func checkDumpText(ctx context.Context, m *machine.Machine, addr uint64) error {
	pointer, err := readCheck(ctx, m, addr, 8)
	if err != nil {
		return err
	}
	text, err := readCheck(ctx, m, binary.LittleEndian.Uint64(pointer), uint64(len(linux.VMCoreInfoStart)))
	if err != nil || string(text) != linux.VMCoreInfoStart {
		return cmp.Or(err, errMisfit)
	}
	return nil
}

// readCheck reads what should be at addr by the debugger's vmlinux. If nothing is mapped there, its
// vmlinux does not fit.
func readCheck(ctx context.Context, m *machine.Machine, addr, size uint64) ([]byte, error) {
	const maxSize = 64 << 10 // bytes; the notes of a kernel have some 500
	if size > maxSize {
		return nil, errMisfit
	}
	p := make([]byte, size)
	_, err := m.Kernel.Space.ReadMemory(ctx, addr, p)
	if silent := errors.Is(err, bridge.ErrTimeout) || ctx.Err() != nil; err != nil && !silent {
		return nil, errMisfit
	}
	return p, err
}
