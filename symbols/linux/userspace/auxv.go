package userspace

import (
	"bytes"
	"context"
	"fmt"

	"physgdb/symbols/linux"
	"physgdb/symbols/linux/unwind"
)

// Auxv returns the auxiliary vector of a task's program as it is in memory: pairs of words of the
// program's width, up to that of AT_NULL. It is empty for kernel threads.
func Auxv(ctx context.Context, u *unwind.Unwinder, t *linux.Task) ([]byte, error) {
	if t.MM == 0 {
		return nil, nil
	}
	types, err := u.Kernel.Types(ctx)
	if err != nil {
		return nil, err
	}
	saved, err := types.Field("mm_struct", "saved_auxv")
	if err != nil {
		return nil, err
	}
	const maxSize = 4096 // bytes; kernels have some 400
	vector := make([]byte, min(saved.Size, maxSize)&^15)
	if _, err := u.Kernel.Space.ReadMemory(ctx, t.MM+saved.Offset, vector); err != nil {
		return nil, fmt.Errorf("auxiliary vector of task %d: %w", t.PID, err)
	}
	abi, err := ProgramABI(ctx, u, t)
	if err != nil {
		return nil, err
	}
	word := abi.PointerSize() // elf_addr_t of fs/binfmt_elf.c and fs/compat_binfmt_elf.c
	for at := 0; at < len(vector); at += 2 * word {
		if bytes.Count(vector[at:at+word], []byte{0}) == word {
			return vector[:at+2*word], nil
		}
	}
	return nil, fmt.Errorf("auxiliary vector of task %d at %#x has no end: damaged memory", t.PID, t.MM+saved.Offset)
}
