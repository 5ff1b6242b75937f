package gdbstub

import (
	"context"
	"strings"

	"physgdb/gdbstub/internal/worker"
)

// stepBits are the names that QEMU gives the bits of its single-step mask. gef and pwndbg take a
// server for QEMU by the first.
const stepBits = "ENABLE=1,NOIRQ=2,NOTIMER=4"

// qemuQuery answers QEMU's own queries (QEMU's docs/system/gdb.rst, "Advanced debugging options"
// and "Debugging in physical memory mode"). By them gef and pwndbg read physical memory. Nothing is
// ever stepped here, so the mask of single steps is 0.
func (s *session) qemuQuery(ctx context.Context, args []byte) reply {
	switcher := s.selected.can.physical
	if switcher == nil {
		return unsupported()
	}
	switch string(args) {
	case ".Supported":
		return text("sstepbits;sstep;PhyMemMode")
	case ".sstepbits":
		s.client.qemu = true
		return text(stepBits)
	case ".sstep":
		return text("0x0")
	case ".PhyMemMode":
		on, err := worker.Ask(ctx, s.selected.worker, func(context.Context, Target) (bool, error) { return switcher.PhysicalMode(), nil })
		switch {
		case err != nil:
			return s.fail(codeRefused, err.Error())
		case on:
			return text("1")
		}
		return text("0")
	}
	return unsupported()
}

// setQemu answers QEMU's settings: Qqemu.PhyMemMode:0 and :1, and those that clients send to
// recognise QEMU, which takes these queries with a capital Q, too.
func (s *session) setQemu(ctx context.Context, args []byte) reply {
	switcher := s.selected.can.physical
	mode := string(args)
	switch {
	case mode == ".sstepbits" || mode == ".sstep":
		return s.qemuQuery(ctx, args)
	case switcher != nil && strings.HasPrefix(mode, ".sstep="):
		return s.fail(codeRefused, s.selected.can.whyHalted)
	case switcher == nil || mode != ".PhyMemMode:0" && mode != ".PhyMemMode:1":
		return unsupported()
	}
	_, err := worker.Ask(ctx, s.selected.worker, func(context.Context, Target) (struct{}, error) {
		switcher.SetPhysicalMode(mode == ".PhyMemMode:1")
		return struct{}{}, nil
	})
	if err != nil {
		return s.fail(codeRefused, err.Error())
	}
	return ok()
}
