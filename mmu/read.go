package mmu

import (
	"context"
	"fmt"

	"physgdb/bridge"
)

// readChunk bounds how much of a read is translated and fetched in one go, in bytes.
const readChunk = 1 << 20

// ReadMemory reads len(p) bytes at the virtual address va. It returns how many bytes at the start
// of p are good, and if that is not all, why the next could not be read.
func (s *Space) ReadMemory(ctx context.Context, va uint64, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		at := va + uint64(n)
		if uint64(n) > ^va { // ran over the top of the address space
			return n, &ReadError{0, len(p) - n, &Fault{Err: ErrNonCanonical}}
		}
		chunk := p[n:min(len(p), n+readChunk)]
		if room := -at; room != 0 && uint64(len(chunk)) > room {
			chunk = chunk[:room]
		}
		if ctx.Err() != nil {
			return n, ctx.Err()
		}
		var got int
		if s.m.viewer != nil {
			got, err = s.copyViews(ctx, at, chunk)
		} else {
			got, err = s.fetchOne(ctx, at, chunk)
		}
		n += got
	}
	if err != nil && contextError(err) == nil {
		err = &ReadError{va + uint64(n), len(p) - n, err}
	}
	return n, err
}

// ReadError says which bytes of virtual memory could not be read.
type ReadError struct {
	VA  uint64 // first byte that was not read
	Len int    // bytes that were wanted from there on
	Err error  // why: a *Fault or a *bridge.AccessError
}

func (e *ReadError) Error() string {
	return fmt.Sprintf("read %d bytes at %#x: %v", e.Len, e.VA, e.Err)
}

func (e *ReadError) Unwrap() error { return e.Err }

// copyViews reads from memory that can be seen in place, page by page.
func (s *Space) copyViews(ctx context.Context, va uint64, p []byte) (n int, err error) {
	for n < len(p) {
		at := va + uint64(n)
		mp, err := s.Translate(ctx, at)
		if err != nil {
			return n, err
		}
		piece := p[n:]
		if rest := mp.Size - (at - mp.VA); uint64(len(piece)) > rest {
			piece = piece[:rest]
		}
		data, ok := s.m.viewer.View(mp.Phys(at), len(piece))
		if ok && bridge.InPlace(func() { copy(piece, data) }) == nil {
			n += len(piece)
			continue
		}
		got, err := bridge.Read(ctx, s.m.mem, mp.Phys(at), piece, mp.Flags&Uncached == 0)
		n += got
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// pieces turns translated pages into reads, joining what lies together in physical memory, up to
// the first page that is not there; hole is why that is not.
func pieces(va uint64, p []byte, vas []uint64, found []Translation) (ops []bridge.Op, hole error) {
	done := 0
	for i, at := range vas {
		if found[i].Err != nil {
			return ops, found[i].Err
		}
		n := int(min(uint64(len(p)-done), PageSize-at&(PageSize-1)))
		pa := found[i].Phys(at)
		trusted := found[i].Flags&Uncached == 0
		if k := len(ops) - 1; k >= 0 && ops[k].Trusted == trusted && ops[k].Addr+bridge.PhysAddr(len(ops[k].Buf)) == pa {
			ops[k].Buf = p[done-len(ops[k].Buf) : done+n]
		} else {
			ops = append(ops, bridge.Op{Addr: pa, Buf: p[done : done+n], Trusted: trusted})
		}
		done += n
	}
	return ops, nil
}
