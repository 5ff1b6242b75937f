package gdbstub

import (
	"context"
)

// qemuQuery answers QEMU's own queries (QEMU's docs/system/gdb.rst, "Debugging in physical memory mode"), which pwndbg and
// others send to any server: Supported and PhyMemMode.
func (s *session) qemuQuery(ctx context.Context, args []byte) reply {
	switcher := s.can.physical
	if switcher == nil {
		return unsupported()
	}
	switch string(args) {
	case ".Supported":
		return text("PhyMemMode")
	case ".PhyMemMode":
		on, err := ask(ctx, s.worker, func(context.Context, Target) (bool, error) { return switcher.PhysicalMode(), nil })
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

// setQemu answers Qqemu.PhyMemMode:0 and :1.
func (s *session) setQemu(ctx context.Context, args []byte) reply {
	switcher := s.can.physical
	mode := string(args)
	if switcher == nil || mode != ".PhyMemMode:0" && mode != ".PhyMemMode:1" {
		return unsupported()
	}
	_, err := ask(ctx, s.worker, func(context.Context, Target) (struct{}, error) {
		switcher.SetPhysicalMode(mode == ".PhyMemMode:1")
		return struct{}{}, nil
	})
	if err != nil {
		return s.fail(codeRefused, err.Error())
	}
	return ok()
}
