package find

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"physgdb/bridge"
	"physgdb/mmu"
	"physgdb/symbols/linux"
)

// Handover describes how two kernels that kexec connects share one memory.
type Handover int

// Kinds of handover.
const (
	// NoHandover is for a kernel without a record of another one.
	NoHandover Handover = iota
	// CapturesDump is for a capture kernel: the panic of another kernel started it.
	CapturesDump
	// MayBeCaptured is for a kernel that panicked with a capture kernel loaded.
	MayBeCaptured
	// StartedNext is for a kernel that started another one by kexec.
	StartedNext
)

// HandoverOf reads, in one batch, what the kernel records about another one in the same memory.
func HandoverOf(ctx context.Context, k *linux.Kernel) (Handover, error) {
	// kernel/crash_dump.c, kernel/elfcorehdr.c since 6.16 (ELFCORE_ADDR_MAX where there is no
	// elfcorehdr=); kernel/kexec_core.c, kernel/panic.c.
	const notGiven = ^uint64(0)
	v, err := readGlobals(ctx, k, []global{
		{"elfcorehdr_addr", 8, notGiven}, {"kexec_in_progress", 1, 0}, {"kexec_crash_image", 8, 0}, {"panic_cpu", 4, linux.NoCPU},
	})
	if err != nil {
		return NoHandover, err
	}
	switch headers, rebooting, image, panicked := v[0], v[1], v[2], v[3]; {
	case headers != notGiven:
		// The variable alone is no evidence: the kernel invalidates it after it has read the
		// headers.
		if _, err := elfCoreHeaders(ctx, k); err != nil {
			return NoHandover, err
		}
		return CapturesDump, nil
	case rebooting == 1:
		return StartedNext, nil
	case image != 0 && panicked != linux.NoCPU:
		return MayBeCaptured, nil
	}
	return NoHandover, nil
}

// global is a variable of at most 8 bytes, and the value to use if the kernel has no such variable.
type global struct {
	name    string
	size    int
	missing uint64
}

// readGlobals reads variables in one batch.
func readGlobals(ctx context.Context, k *linux.Kernel, list []global) ([]uint64, error) {
	values := make([]uint64, len(list))
	data := make([][8]byte, len(list))
	var ops []mmu.Op
	var from []int
	for i, g := range list {
		values[i] = g.missing
		if addr, ok := k.Addr(g.name); ok {
			ops = append(ops, mmu.Op{VA: addr, Buf: data[i][:g.size]})
			from = append(from, i)
		}
	}
	if err := k.Space.ReadAll(ctx, ops); err != nil {
		return nil, err
	}
	for j, i := range from {
		if ops[j].Err != nil {
			return nil, fmt.Errorf("%s: %w", list[i].name, ops[j].Err)
		}
		values[i] = binary.LittleEndian.Uint64(data[i][:])
	}
	return values, nil
}

// elfCoreHeaders returns the physical address of the ELF headers that describe the memory of the
// panicked kernel, from the last elfcorehdr=[SIZE@]ADDRESS of the command line.
func elfCoreHeaders(ctx context.Context, k *linux.Kernel) (bridge.PhysAddr, error) {
	line, err := k.CommandLine(ctx)
	if err != nil {
		return 0, fmt.Errorf("the kernel's command line: %w", err)
	}
	value, found := "", false
	for word := range strings.FieldsSeq(line) {
		if v, ok := strings.CutPrefix(word, "elfcorehdr="); ok {
			value, found = v, true
		}
	}
	if !found {
		return 0, errors.New("the kernel's command line has no elfcorehdr=")
	}
	if _, after, ok := strings.Cut(value, "@"); ok {
		value = after
	}
	return parseMemorySize(value)
}

// parseMemorySize parses a number in the format of the kernel's command line, with or without a
// unit (memparse, lib/cmdline.c).
func parseMemorySize(text string) (bridge.PhysAddr, error) {
	digits, shift := text, 0
	if n := len(text) - 1; n > 0 {
		if shift = 10 * (1 + strings.IndexByte("KMGT", text[n]&^0x20)); shift > 0 {
			digits = text[:n]
		}
	}
	v, err := strconv.ParseUint(digits, 0, 64)
	if err != nil || v<<shift>>shift != v {
		return 0, fmt.Errorf("elfcorehdr=%s is not an address", text)
	}
	return bridge.PhysAddr(v << shift), nil
}

// Other searches for the kernel with which k shares memory (see [HandoverOf]): the one
// that panicked, or the one that was started later. The error is a [*NotFoundError] unless reads
// time out or ctx ends.
func Other(ctx context.Context, m *mmu.MMU, mem bridge.Memory, o *Options, k *linux.Kernel, how Handover) (*linux.Kernel, error) {
	f := &finder{m: m, mem: mem, o: o, others: []linux.Location{k.Location}}
	var methods []func(context.Context) (*linux.Kernel, error)
	switch how {
	case CapturesDump:
		byHeaders := func(ctx context.Context) (*linux.Kernel, error) { return f.byELFCoreHeaders(ctx, k) }
		methods = append(methods, byHeaders, f.byNoteScan)
	case StartedNext:
		methods = append(methods, f.byTrampoline, f.byNoteScan)
	case MayBeCaptured:
		methods = append(methods, f.byTrampoline)
	}
	return f.tryMethods(ctx, methods)
}

// byELFCoreHeaders reads the ELF headers that the panicked kernel made for its capture kernel: one
// of their notes is its VMCOREINFO (crash_prepare_elf64_headers, kernel/crash_core.c; kexec-tools
// do the same).
func (f *finder) byELFCoreHeaders(ctx context.Context, capture *linux.Kernel) (*linux.Kernel, error) {
	at, err := elfCoreHeaders(ctx, capture)
	if err != nil {
		return nil, f.recordFailure(ctx, err)
	}
	notes, err := f.elfCoreNotes(ctx, at)
	if err != nil {
		return nil, f.recordFailure(ctx, fmt.Errorf("ELF headers at phys %#x: %w", uint64(at), err))
	}
	p := &probe{size: linux.VMCoreInfoNoteHeader, trusted: true, hit: func(at bridge.PhysAddr, p []byte) (*linux.Kernel, error) {
		if _, ok := linux.VMCoreInfoNoteSize(p); ok {
			return f.tryVMCoreInfo(ctx, linux.ByELFCoreHeaders, at)
		}
		return nil, nil
	}}
	return f.search(ctx, p, notes, fmt.Sprintf("no note that the ELF headers at phys %#x name is a VMCOREINFO", uint64(at)))
}

// elfCoreNotes returns the addresses of the notes in ELF headers in memory, the last first:
// VMCOREINFO follows a note for each CPU.
func (f *finder) elfCoreNotes(ctx context.Context, at bridge.PhysAddr) (iter.Seq[bridge.PhysAddr], error) {
	// Elf64_Ehdr and Elf64_Phdr (elf(5)).
	const headerSize, entrySize, note = 64, 56, 4
	header := make([]byte, headerSize)
	if _, err := bridge.Read(ctx, f.mem, at, header, true); err != nil {
		return nil, err
	}
	offset := binary.LittleEndian.Uint64(header[32:])
	size, count := binary.LittleEndian.Uint16(header[54:]), binary.LittleEndian.Uint16(header[56:])
	if string(header[:5]) != "\x7fELF\x02" || size != entrySize || offset >= 1<<32 {
		return nil, errors.New("they are overwritten, or damaged")
	}
	table := make([]byte, entrySize*int(count))
	n, err := bridge.Read(ctx, f.mem, at+bridge.PhysAddr(offset), table, true)
	if n < entrySize && err != nil {
		return nil, err
	}
	return func(yield func(bridge.PhysAddr) bool) {
		for i := n/entrySize - 1; i >= 0; i-- {
			entry := table[i*entrySize:]
			where := bridge.PhysAddr(binary.LittleEndian.Uint64(entry[8:]))
			if binary.LittleEndian.Uint32(entry) == note && !yield(where) {
				return
			}
		}
	}, nil
}
