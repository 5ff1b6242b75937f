package gdbstub

import (
	"context"
	"fmt"

	"physgdb/gdbstub/internal/worker"
)

// place is what a Relocator says.
type place struct {
	text, slide uint64
	known       bool
}

// offsets answers qOffsets (gdb manual, appendix E.4). gdb wants the address of the first segment
// as it runs: its other form leaves .rodata of a vmlinux where it was linked. lldb understands only
// the other form.
//
// gdb itself asks before it reads registers for the first time after it connected or attached. A
// client that asked QEMU's queries and asks later is a script in gdb, such as gef: it takes any
// answer but the empty one for that of an emulated program, and this is a whole machine.
func (s *session) offsets(ctx context.Context) reply {
	relocator := s.selected.can.relocator
	if relocator == nil || s.client.qemu && s.client.readRegisters {
		return unsupported()
	}
	at, err := worker.Ask(ctx, s.selected.worker, func(ctx context.Context, _ Target) (place, error) {
		text, slide, known := relocator.Relocation(ctx)
		return place{text, slide, known}, nil
	})
	switch {
	case err != nil || !at.known:
		return unsupported() // nothing is moved
	case s.client.lldb:
		return text(fmt.Sprintf("Text=%x;Data=%[1]x;Bss=%[1]x", at.slide))
	}
	return text(fmt.Sprintf("TextSeg=%x", at.text))
}

// hexAddress writes an address for people.
func hexAddress(addr uint64) string { return fmt.Sprintf("%#x", addr) }
