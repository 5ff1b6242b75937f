package linux

import (
	"bytes"
	"context"

	"physgdb/mmu"
)

// Notes are the ELF notes of a kernel, as in its vmlinux.
type Notes struct {
	Addr uint64 `json:"addr"` // link address
	Data []byte `json:"data"`
}

// HasNotes compares the notes of several kernels with the memory in one batch of reads. It returns
// the indexes of those that are equal.
func (k *Kernel) HasNotes(ctx context.Context, of []Notes) ([]int, error) {
	ops := make([]mmu.Op, len(of))
	for i, n := range of {
		ops[i] = mmu.Op{VA: n.Addr + k.Slide, Buf: make([]byte, len(n.Data))}
	}
	if err := k.Space.ReadAll(ctx, ops); err != nil {
		return nil, err
	}
	var same []int
	for i := range ops {
		if ops[i].Err == nil && len(ops[i].Buf) > 0 && bytes.Equal(ops[i].Buf, of[i].Data) {
			same = append(same, i)
		}
	}
	return same, nil
}
