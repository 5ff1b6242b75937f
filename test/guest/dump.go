package guest

import (
	"context"
	"fmt"
	"path/filepath"
)

// Dump writes the guest's physical memory to a file in the format that makedumpfile and crash call
// a vmcore: ELF, with physical addresses, a note of registers for each CPU, and no regard to
// paging.
func (g *Guest) Dump(ctx context.Context, path string) error {
	path, err := filepath.Abs(path) // QEMU works in a directory of its own
	if err != nil {
		return fmt.Errorf("dump the guest's memory: %w", err)
	}
	arguments := map[string]any{"paging": false, "protocol": "file:" + path, "format": "elf"}
	if _, err := g.QMP(ctx, "dump-guest-memory", arguments); err != nil {
		return fmt.Errorf("dump the guest's memory to %s: %w", path, err)
	}
	return nil
}
