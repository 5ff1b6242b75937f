package linux

import (
	"bytes"
	"context"

	"physgdb/mmu"
)

// Notes are the ELF notes of a kernel as a file of it has them.
type Notes struct {
	Addr uint64 // link address
	Data []byte
}

// HasNotes looks, in one batch of reads, which of several kernels this one is. It returns the index of the first whose
// notes are those in memory, or -1.
func (k *Kernel) HasNotes(ctx context.Context, of []Notes) (int, error) {
	ops := make([]mmu.Op, len(of))
	for i, n := range of {
		ops[i] = mmu.Op{VA: n.Addr + k.Slide, Buf: make([]byte, len(n.Data))}
	}
	if err := k.Space.ReadAll(ctx, ops); err != nil {
		return -1, err
	}
	for i := range ops {
		if ops[i].Err == nil && len(ops[i].Buf) > 0 && bytes.Equal(ops[i].Buf, of[i].Data) {
			return i, nil
		}
	}
	return -1, nil
}
