package linux

import (
	"context"
	"fmt"

	"physgdb/mmu"
)

// span is a stretch of virtual memory.
type span struct {
	addr uint64
	size int // bytes
}

// patchwork is what could be read of several spans, one behind the other in data.
type patchwork struct {
	data  []byte
	holes []hole
}

// hole is a part of a patchwork that could not be read.
type hole struct {
	from, to int // in data
	err      error
}

// readPatchwork reads all spans in one batch. What fails is tried once more page by page, so that a page that is missing
// costs nothing but itself. The error is for the memory as a whole, or ctx.
func readPatchwork(ctx context.Context, space *mmu.Space, spans ...span) (*patchwork, error) {
	total := 0
	for _, s := range spans {
		total += s.size
	}
	p := &patchwork{data: make([]byte, total)}
	ops := make([]mmu.Op, len(spans))
	at := 0
	for i, s := range spans {
		ops[i] = mmu.Op{VA: s.addr, Buf: p.data[at : at+s.size]}
		at += s.size
	}
	if err := space.ReadAll(ctx, ops); err != nil {
		return nil, err
	}
	return p, p.retry(ctx, space, ops)
}

// retry reads what ops, which fill data from end to end, left out.
func (p *patchwork) retry(ctx context.Context, space *mmu.Space, ops []mmu.Op) error {
	var again []mmu.Op
	var at []int // where each of them begins in data
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
	if err := space.ReadAll(ctx, again); err != nil {
		return err
	}
	for i := range again {
		if op := &again[i]; op.Err != nil {
			p.holes = append(p.holes, hole{at[i] + op.N, at[i] + len(op.Buf), op.Err})
		}
	}
	return nil
}

// part returns size bytes of the patchwork, or why they are not all there.
func (p *patchwork) part(from, size int) ([]byte, error) {
	if from < 0 || size < 0 || from > len(p.data)-size {
		return nil, fmt.Errorf("%d bytes at %d do not lie in the %d that were read", size, from, len(p.data))
	}
	for _, h := range p.holes {
		if h.from < from+size && from < h.to {
			return nil, h.err
		}
	}
	return p.data[from : from+size], nil
}

// empty reports whether nothing at all could be read, and why.
func (p *patchwork) empty() (bool, error) {
	missing := 0
	for _, h := range p.holes {
		missing += h.to - h.from
	}
	if missing < len(p.data) || missing == 0 {
		return false, nil
	}
	return true, p.holes[0].err
}

// pick takes a record from the bytes of a whole struct.
func (l *layout) pick(whole []byte) record {
	r := record{data: make([]byte, l.packed)}
	for _, e := range l.extents {
		copy(r.data[e.at:e.at+int(e.size)], whole[e.offset:])
	}
	return r
}

// mostDamage bounds how many pieces of damage are told one by one.
const mostDamage = 32

// damage gathers what is wrong with something of which parts can be read.
type damage struct {
	told []error
	more int
	answers
}

func (d *damage) add(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	d.note(err)
	if len(d.told) == mostDamage {
		d.more++
		return
	}
	d.told = append(d.told, err)
}

func (d *damage) list() []error {
	if d.more == 0 {
		return d.told
	}
	return append(d.told, fmt.Errorf("and %d more such", d.more))
}
