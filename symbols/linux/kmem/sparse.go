package kmem

import (
	"context"
	"fmt"

	"physgdb/mmu"
)

// Span is an area of virtual memory.
type Span struct {
	Addr uint64
	Size int // bytes
}

// Sparse is the content of several spans in sequence, of which parts may be missing.
type Sparse struct {
	Data  []byte // zeros where there is a hole
	Holes []Hole
}

// Hole is a part of a [Sparse] that could not be read.
type Hole struct {
	From, To int // offsets in Data
	Err      error
}

// ReadSparse reads all spans in one batch. Reads that fail are repeated page by page, so that only
// pages that cannot be read are missing. The error is for the memory as a whole, or ctx.
func ReadSparse(ctx context.Context, sp *mmu.Space, spans ...Span) (*Sparse, error) {
	total := 0
	for _, s := range spans {
		total += s.Size
	}
	r := &Sparse{Data: make([]byte, total)}
	ops := make([]mmu.Op, len(spans))
	at := 0
	for i, s := range spans {
		ops[i] = mmu.Op{VA: s.Addr, Buf: r.Data[at : at+s.Size]}
		at += s.Size
	}
	if err := sp.ReadAll(ctx, ops); err != nil {
		return nil, err
	}
	return r, r.retry(ctx, sp, ops)
}

// retry reads what ops, which fill Data from end to end, did not.
func (r *Sparse) retry(ctx context.Context, sp *mmu.Space, ops []mmu.Op) error {
	var again []mmu.Op
	var at []int // where each of them begins in Data
	start := 0
	for i := range ops {
		op := &ops[i]
		for done := op.N; op.Err != nil && done < len(op.Buf); {
			va := op.VA + uint64(done)
			size := min(len(op.Buf)-done, int(mmu.PageSize-va%mmu.PageSize))
			again = append(again, mmu.Op{VA: va, Buf: op.Buf[done : done+size]})
			at = append(at, start+done)
			done += size
		}
		start += len(op.Buf)
	}
	if len(again) == 0 {
		return nil
	}
	if err := sp.ReadAll(ctx, again); err != nil {
		return err
	}
	for i := range again {
		if op := &again[i]; op.Err != nil {
			r.Holes = append(r.Holes, Hole{at[i] + op.N, at[i] + len(op.Buf), op.Err})
		}
	}
	return nil
}

// Part returns size bytes from an offset in Data, or why they were not all read.
func (r *Sparse) Part(from, size int) ([]byte, error) {
	if from < 0 || size < 0 || from > len(r.Data)-size {
		return nil, fmt.Errorf("%d bytes at %d are not within the %d that were read", size, from, len(r.Data))
	}
	for _, h := range r.Holes {
		if h.From < from+size && from < h.To {
			return nil, h.Err
		}
	}
	return r.Data[from : from+size], nil
}

// Empty reports whether nothing at all could be read, and why.
func (r *Sparse) Empty() (bool, error) {
	missing := 0
	for _, h := range r.Holes {
		missing += h.To - h.From
	}
	if missing < len(r.Data) || missing == 0 {
		return false, nil
	}
	return true, r.Holes[0].Err
}
