package linux

import (
	"context"
	"errors"
	"fmt"
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
