package linux

import (
	"context"
	"errors"
	"fmt"

	"physgdb/bridge"
)

// VMCoreInfoText returns the text of the kernel's VMCOREINFO: lines of KEY=VALUE.
func (k *Kernel) VMCoreInfoText(ctx context.Context) ([]byte, error) {
	addr, err := k.ReadSymbol(ctx, "vmcoreinfo_data", 8)
	if err != nil {
		return nil, err
	}
	size, err := k.ReadSymbol(ctx, "vmcoreinfo_size", 8)
	if err != nil {
		return nil, err
	}
	if addr == 0 || size == 0 || size > maxVMCoreInfo {
		return nil, errors.New("the kernel keeps no VMCOREINFO, or memory is damaged")
	}
	text := make([]byte, size)
	if _, err := k.Space.ReadMemory(ctx, addr, text); err != nil {
		return nil, fmt.Errorf("VMCOREINFO: %w", err)
	}
	return text, nil
}

// NotePlace returns the physical address of the kernel's VMCOREINFO note, with which the kernel can
// be found again.
func (k *Kernel) NotePlace(ctx context.Context) (bridge.PhysAddr, error) {
	if k.Note != 0 {
		return k.Note, nil
	}
	addr, err := k.ReadSymbol(ctx, "vmcoreinfo_note", 8)
	if err != nil {
		return 0, err
	}
	mp, err := k.Space.Translate(ctx, addr)
	if err != nil {
		return 0, fmt.Errorf("vmcoreinfo_note: %w", err)
	}
	return mp.Phys(addr), nil
}
