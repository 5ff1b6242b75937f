package target

import (
	"context"
	"errors"

	"physgdb/bridge"
	"physgdb/gdbstub"
)

// ReadLoaded reads the kernel by the physical addresses it was linked for, which vmlinux gives its
// segments (LOAD_OFFSET, arch/x86/kernel/vmlinux.lds.S). It has them even where the kernel itself
// has no mapping any more, as of its init code, and of per-CPU data as they were linked. A program
// lies where it was linked.
func (s *session) ReadLoaded(ctx context.Context, id gdbstub.ThreadID, addr uint64, p []byte) (int, error) {
	if s.memoryBlocked != nil {
		return 0, s.memoryBlocked
	}
	if s.m.Process != "" {
		return s.ReadMemory(ctx, id, addr, p)
	}
	k := s.m.Kernel
	at := bridge.PhysAddr(addr + k.Slide + uint64(k.PhysBase()))
	n, err := bridge.Read(ctx, s.m.Memory, at, p, false)
	if errors.Is(err, bridge.ErrUnknownRAM) { // then a page table must map it
		return k.Space.ReadMemory(ctx, k.Text+uint64(at-k.TextPhys), p)
	}
	return n, err
}

// ReadLoaded reads the program where it was linked, which is where it is.
func (p *program) ReadLoaded(ctx context.Context, id gdbstub.ThreadID, addr uint64, b []byte) (int, error) {
	return p.ReadMemory(ctx, id, addr, b)
}
