package mmu

import (
	"context"

	"physgdb/bridge"
)

// Op is one piece of a scatter read of virtual memory: Buf is filled from VA on.
type Op struct {
	VA  uint64
	Buf []byte
	N   int   // how many bytes at the start of Buf are good
	Err error // why no more, a *ReadError; nil if all are
}

// ReadAll reads many pieces at once: one scatter read for each level of page tables that are not
// known yet, and one for the data. The error is for the memory as a whole, or ctx.
func (s *Space) ReadAll(ctx context.Context, ops []Op) error {
	if s.m.viewer != nil {
		for i := range ops {
			op := &ops[i]
			op.N, op.Err = s.ReadMemory(ctx, op.VA, op.Buf)
			if contextError(op.Err) != nil {
				return op.Err
			}
		}
		return nil
	}
	if err := s.fetch(ctx, ops); err != nil {
		return err
	}
	for i := range ops {
		if op := &ops[i]; op.Err != nil {
			op.Err = &ReadError{op.VA + uint64(op.N), len(op.Buf) - op.N, op.Err}
		}
	}
	return nil
}

// fetchOne reads one piece from memory that costs round trips.
func (s *Space) fetchOne(ctx context.Context, va uint64, p []byte) (int, error) {
	ops := []Op{{VA: va, Buf: p}}
	if err := s.fetch(ctx, ops); err != nil {
		return 0, err
	}
	return ops[0].N, ops[0].Err
}

// fetch reads pieces from memory that costs round trips: all translations together, then all data
// together. The pieces' errors are not wrapped yet.
func (s *Space) fetch(ctx context.Context, ops []Op) error {
	var vas []uint64
	ends := make([]int, len(ops)) // vas[:ends[i]] are the pages of ops[:i+1]
	for i := range ops {
		vas = appendPages(vas, ops[i].VA, len(ops[i].Buf))
		ends[i] = len(vas)
	}
	found := make([]Translation, len(vas))
	if err := s.TranslateAll(ctx, vas, found); err != nil {
		return err
	}
	return s.readFound(ctx, ops, vas, found, ends)
}

// appendPages appends the addresses where len bytes from va on begin, and where they enter another
// page.
func appendPages(vas []uint64, va uint64, size int) []uint64 {
	for done := uint64(0); done < uint64(size); {
		at := va + done
		vas = append(vas, at)
		if done += PageSize - at&(PageSize-1); va+done < va {
			break // over the top of the address space; the last page ends the piece
		}
	}
	return vas
}

// readFound reads the pieces whose pages were looked up.
func (s *Space) readFound(ctx context.Context, ops []Op, vas []uint64, found []Translation, ends []int) error {
	var all []bridge.Op
	first := make([]int, len(ops)+1) // all[first[i]:first[i+1]] are the parts of ops[i]
	start := 0
	for i, end := range ends {
		op := &ops[i]
		var parts []bridge.Op
		parts, op.Err = pieces(op.VA, op.Buf, vas[start:end], found[start:end])
		all = append(all, parts...)
		first[i+1], start = len(all), end
	}
	if len(all) > 0 {
		if err := s.m.mem.ReadPhys(ctx, all); err != nil {
			return err
		}
	}
	for i := range ops {
		ops[i].finish(all[first[i]:first[i+1]])
	}
	return nil
}

// finish sums up what became of the parts of op, whose Err says what follows them.
func (op *Op) finish(parts []bridge.Op) {
	op.N = 0
	for k := range parts {
		op.N += parts[k].Good()
		if parts[k].Err != nil {
			op.Err = parts[k].Err
			break
		}
	}
	if op.Err == nil && op.N < len(op.Buf) { // cut off at the top of the address space
		op.Err = &Fault{Err: ErrNonCanonical}
	}
}
