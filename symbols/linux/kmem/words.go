package kmem

import (
	"context"

	"physgdb/mmu"
)

// ReadUint reads a little-endian number of size bytes, at most 8, at addr.
func ReadUint(ctx context.Context, sp *mmu.Space, addr uint64, size int) (uint64, error) {
	var p [maxNumber]byte
	_, err := sp.ReadMemory(ctx, addr, p[:size])
	return number(p[:]), err
}

// ReadWords reads the 8 bytes at each of addrs in one batch. errs has one element for each address:
// nil, or why it could not be read; its value is then 0. err is for the memory as a whole, or ctx.
func ReadWords(ctx context.Context, sp *mmu.Space, addrs []uint64) (words []uint64, errs []error, err error) {
	data := make([]byte, maxNumber*len(addrs))
	ops := make([]mmu.Op, len(addrs))
	for i, addr := range addrs {
		ops[i] = mmu.Op{VA: addr, Buf: data[maxNumber*i:][:maxNumber:maxNumber]}
	}
	if err := sp.ReadAll(ctx, ops); err != nil {
		return nil, nil, err
	}
	words, errs = make([]uint64, len(addrs)), make([]error, len(addrs))
	for i := range ops {
		if errs[i] = ops[i].Err; errs[i] == nil {
			words[i] = number(ops[i].Buf)
		}
	}
	return words, errs, nil
}
