package query

import (
	"context"
	"errors"
	"sort"
	"time"

	"physgdb/bridge"
	"physgdb/cmd/internal/machine"
	"physgdb/mmu"
)

// Search searches virtual memory in the order of the page tables: unmapped ranges cost nothing,
// however large, and what is contiguous in physical memory is read together. It belongs to one
// goroutine.
type Search struct {
	Done uint64 // bytes that were searched

	mem      *machine.Memory
	scan     scan
	progress func(at, done uint64)
	unread   func(err error) error // called for memory that could not be read; its error ends the search

	ram    bridge.RAMMap
	limits batchLimits
	batch  []bridge.Op
	places []uint64 // virtual addresses of the batch
	filled int      // bytes of buf that the batch takes
	buf    []byte
}

// NewSearch returns a search for patterns of equal length. hit is called for each place, in order;
// false ends the search.
func NewSearch(mem *machine.Memory, patterns [][]byte, hit func(at uint64) bool) *Search {
	return &Search{
		mem: mem, scan: scan{patterns: patterns, hit: hit}, ram: mem.Info().RAM,
		progress: func(uint64, uint64) {},
		unread:   func(err error) error { return err },
		limits:   batchLimits{now: minBatch},
	}
}

// Next returns the address after the last byte that was searched.
func (s *Search) Next() uint64 { return s.scan.next }

// errEnough ends a search early, as its caller wished.
var errEnough = errors.New("enough was found")

// Run searches the part of a space that lies in r. What is not mapped, or mapped to no RAM, is
// skipped.
func (s *Search) Run(ctx context.Context, space *mmu.Space, r mmu.Range) error {
	err := s.pages(ctx, space, r)
	if err == nil {
		err = s.flush(ctx)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// RunPhysical searches the RAM that lies in a range of physical addresses.
func (s *Search) RunPhysical(ctx context.Context, r mmu.Range) error {
	err := s.stretch(ctx, r.First, bridge.PhysAddr(r.First), r.Last-r.First+1, false)
	if err == nil {
		err = s.flush(ctx)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func (s *Search) pages(ctx context.Context, space *mmu.Space, r mmu.Range) error {
	for mp, err := range mmu.Merge(space.Mappings(ctx, r)) {
		if err != nil {
			if err := s.failed(ctx, err); err != nil {
				return err
			}
			continue
		}
		first, last := max(mp.VA, r.First), min(mp.VA+(mp.Size-1), r.Last)
		if err := s.stretch(ctx, first, mp.Phys(first), last-first+1, mp.Flags&mmu.Uncached == 0); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// failed decides what becomes of a search that met an error. What the machine itself could not have
// read, as its page tables make no sense there, or is no RAM, is passed over.
func (s *Search) failed(ctx context.Context, err error) error {
	var fault *mmu.Fault
	var access *bridge.AccessError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, bridge.ErrNotRAM), errors.Is(err, bridge.ErrUnknownRAM):
		return nil
	case errors.As(err, &access), errors.Is(err, mmu.ErrTooMany):
		return s.unread(err)
	case errors.As(err, &fault):
		return nil
	}
	return err
}

// stretch searches n bytes that lie together in physical memory, as far as they are RAM.
func (s *Search) stretch(ctx context.Context, va uint64, pa bridge.PhysAddr, n uint64, trusted bool) error {
	for n > 0 {
		isRAM, length := ramAt(s.ram, pa, n)
		if isRAM {
			length = min(length, maxBatch)
			if err := s.part(ctx, va, pa, int(length), trusted); err != nil {
				return err
			}
		}
		va, pa, n = va+length, pa+bridge.PhysAddr(length), n-length
	}
	return nil
}

// ramAt says whether there is RAM at pa, and for how many of n bytes that holds. Where no RAM map
// is known the guard decides.
func ramAt(ram bridge.RAMMap, pa bridge.PhysAddr, n uint64) (isRAM bool, length uint64) {
	if !ram.Known() {
		return true, n
	}
	if length = ram.Prefix(pa, n); length > 0 {
		return true, length
	}
	i := sort.Search(len(ram), func(i int) bool { return ram[i].Start > pa })
	if i == len(ram) {
		return false, n
	}
	return false, min(n, uint64(ram[i].Start-pa))
}

// part searches what can be seen in place, and puts off the rest until there is enough of it for a
// batch.
func (s *Search) part(ctx context.Context, va uint64, pa bridge.PhysAddr, n int, trusted bool) error {
	if p, ok := bridge.View(s.mem, pa, n); ok {
		if err := s.flush(ctx); err != nil {
			return err
		}
		return s.inPlace(ctx, va, pa, p)
	}
	for n > 0 {
		if s.buf == nil {
			s.buf = make([]byte, maxBatch)
		}
		k := min(n, s.limits.now-s.filled)
		s.batch = append(s.batch, bridge.Op{Addr: pa, Buf: s.buf[s.filled : s.filled+k], Trusted: trusted})
		s.places = append(s.places, va)
		s.filled += k
		va, pa, n = va+uint64(k), pa+bridge.PhysAddr(k), n-k
		if s.filled == s.limits.now {
			if err := s.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// inPlace searches bytes that the memory shows in place, as far as they are still there.
func (s *Search) inPlace(ctx context.Context, va uint64, pa bridge.PhysAddr, p []byte) error {
	var err error
	if gone := bridge.InPlace(func() { err = s.bytes(ctx, va, p) }); gone != nil {
		s.scan.forget()
		return s.failed(ctx, &bridge.AccessError{Addr: pa, Len: len(p), Err: gone})
	}
	return err
}

// flush reads the batch and searches it. It goes past the cache: a search sees each page once, and
// would drive out what is needed again.
func (s *Search) flush(ctx context.Context) error {
	if len(s.batch) == 0 {
		return nil
	}
	begin := time.Now()
	if err := s.mem.ReadUncached(ctx, s.batch); err != nil {
		return err
	}
	s.limits.adapt(time.Since(begin))
	for i := range s.batch {
		op := &s.batch[i]
		if err := s.bytes(ctx, s.places[i], op.Buf[:op.Good()]); err != nil {
			return err
		}
		if op.Err != nil {
			if err := s.failed(ctx, op.Err); err != nil {
				return err
			}
		}
	}
	s.batch, s.places, s.filled = s.batch[:0], s.places[:0], 0
	return nil
}

func (s *Search) bytes(ctx context.Context, va uint64, p []byte) error {
	if !s.scan.piece(va, p) {
		return errEnough
	}
	s.Done += uint64(len(p))
	s.progress(s.scan.next, s.Done)
	return ctx.Err()
}

// Bounds of a batch of reads, in bytes. gdb restarts the search after each place that was found, so
// that small first batches pay.
const (
	minBatch = 64 << 10
	maxBatch = 4 << 20
)

// batchLimits is how large batches are: as large as takes a moment, so that a search can be stopped
// and says how far it is.
type batchLimits struct{ now int }

func (b *batchLimits) adapt(took time.Duration) {
	const short, long = 100 * time.Millisecond, 400 * time.Millisecond
	switch {
	case took < short:
		b.now = min(2*b.now, maxBatch)
	case took > long:
		b.now = max(b.now/2, minBatch)
	}
}

// Halves cuts a range of addresses between user space and the kernel's.
func Halves(r mmu.Range) []mmu.Range {
	if r.First > mmu.Lower.Last || r.Last < mmu.Upper.First {
		return []mmu.Range{r}
	}
	return []mmu.Range{{First: r.First, Last: mmu.Lower.Last}, {First: mmu.Upper.First, Last: r.Last}}
}
