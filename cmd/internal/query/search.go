package host

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"physgdb/bridge"
	"physgdb/gdbstub"
	"physgdb/mmu"
)

// search goes through virtual memory as the page tables list it: what they leave out costs nothing, however large, and
// what lies together in physical memory is read together.
type search struct {
	mem    *Memory
	scan   scan
	done   uint64                   // bytes looked through
	tell   func(at, done uint64)    // hears now and then how far the search is
	unread func(failed error) error // hears of memory that could not be read; its error ends the search

	ram    bridge.RAMMap
	limits batchLimits
	batch  []bridge.Op
	places []uint64 // virtual addresses of the batch
	filled int      // bytes of buf that the batch takes
	buf    []byte
}

// newSearch makes a search for any of some patterns of equal length, that says nothing. hit hears of each place; false ends the search.
func newSearch(mem *Memory, patterns [][]byte, hit func(at uint64) bool) *search {
	return &search{
		mem: mem, scan: scan{patterns: patterns, hit: hit}, ram: mem.Info().RAM,
		tell:   func(uint64, uint64) {},
		unread: func(failed error) error { return failed },
		limits: batchLimits{now: minBatch},
	}
}

// errEnough ends a search early, as its caller wished.
var errEnough = errors.New("enough was found")

// run searches the part of a space that lies in r. Where nothing is mapped, or no RAM is behind it, there is nothing to
// find.
func (s *search) run(ctx context.Context, space *mmu.Space, r mmu.Range) error {
	err := s.pages(ctx, space, r)
	if err == nil {
		err = s.flush(ctx)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// runPhysical searches the RAM that lies in a range of physical addresses.
func (s *search) runPhysical(ctx context.Context, r mmu.Range) error {
	err := s.stretch(ctx, r.First, bridge.PhysAddr(r.First), r.Last-r.First+1, false)
	if err == nil {
		err = s.flush(ctx)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func (s *search) pages(ctx context.Context, space *mmu.Space, r mmu.Range) error {
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

// failed decides what becomes of a search that met an error. What the machine itself could not have read, as its page
// tables make no sense there, or is no RAM, is passed over.
func (s *search) failed(ctx context.Context, err error) error {
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
func (s *search) stretch(ctx context.Context, va uint64, pa bridge.PhysAddr, n uint64, trusted bool) error {
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

// ramAt says whether there is RAM at pa, and for how many of n bytes that holds. Where no RAM map is known the guard
// decides.
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

// part searches what can be seen in place, and puts off the rest until there is enough of it for a batch.
func (s *search) part(ctx context.Context, va uint64, pa bridge.PhysAddr, n int, trusted bool) error {
	if p, ok := s.mem.View(pa, n); ok {
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
func (s *search) inPlace(ctx context.Context, va uint64, pa bridge.PhysAddr, p []byte) error {
	var err error
	if gone := bridge.InPlace(func() { err = s.bytes(ctx, va, p) }); gone != nil {
		s.scan.forget()
		return s.failed(ctx, &bridge.AccessError{Addr: pa, Len: len(p), Err: gone})
	}
	return err
}

// flush reads the batch and searches it. It goes past the cache: a search sees each page once, and would drive out what
// is needed again.
func (s *search) flush(ctx context.Context) error {
	if len(s.batch) == 0 {
		return nil
	}
	begin := time.Now()
	if err := s.mem.guard.ReadPhys(ctx, s.batch); err != nil {
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

func (s *search) bytes(ctx context.Context, va uint64, p []byte) error {
	if !s.scan.piece(va, p) {
		return errEnough
	}
	s.done += uint64(len(p))
	s.tell(s.scan.next, s.done)
	return ctx.Err()
}

// Bounds of a batch of reads, in bytes. gdb searches anew from each place that was found, which makes small first
// batches worth while.
const (
	minBatch = 64 << 10
	maxBatch = 4 << 20
)

// batchLimits is how large batches are: as large as takes a moment, so that a search can be stopped and says how far it is.
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

// SearchMemory finds a pattern for gdb, which asks for one place at a time.
func (s *session) SearchMemory(ctx context.Context, id gdbstub.ThreadID, addr, length uint64, pattern []byte) (
	at uint64, found bool, err error) {
	if s.distrust != nil {
		return 0, false, s.distrust
	}
	t, err := s.thread(ctx, id)
	if err != nil {
		return 0, false, err
	}
	return s.findFirst(ctx, addr, length, pattern, func(first uint64) (*mmu.Space, error) { return s.spaceFor(ctx, t, first) })
}

// SearchMemory finds a pattern for gdb in what the program sees.
func (p *program) SearchMemory(ctx context.Context, _ gdbstub.ThreadID, addr, length uint64, pattern []byte) (
	at uint64, found bool, err error) {
	return p.shell.findFirst(ctx, addr, length, pattern, func(uint64) (*mmu.Space, error) { return p.shell.look(ctx) })
}

// findFirst returns the first place of a pattern, in the space that an address belongs to, or in physical memory.
func (s *session) findFirst(ctx context.Context, addr, length uint64, pattern []byte,
	spaceFor func(first uint64) (*mmu.Space, error)) (at uint64, found bool, err error) {
	if length == 0 {
		return 0, false, nil
	}
	begin := time.Now()
	look := newSearch(s.m.Memory, [][]byte{pattern}, func(place uint64) bool {
		at, found = place, true
		return false
	})
	for _, r := range halves(mmu.Range{First: addr, Last: addr + (length - 1)}) {
		var err error
		if s.physical {
			err = look.runPhysical(ctx, r)
		} else if space, failed := spaceFor(r.First); failed != nil {
			err = failed
		} else {
			err = look.run(ctx, space, r)
		}
		switch {
		case found:
			return at, true, nil
		case ctx.Err() != nil:
			return 0, false, fmt.Errorf("%s were searched, up to %#x, in the %v that gdb waits; monitor find has no such limit",
				sizeText(look.done), look.scan.next, time.Since(begin).Round(100*time.Millisecond))
		case err != nil:
			return 0, false, fmt.Errorf("%w; monitor find passes over what cannot be read", err)
		}
	}
	return 0, false, nil
}

// halves cuts a range of addresses between user space and the kernel's.
func halves(r mmu.Range) []mmu.Range {
	if r.First > mmu.Lower.Last || r.Last < mmu.Upper.First {
		return []mmu.Range{r}
	}
	return []mmu.Range{{First: r.First, Last: mmu.Lower.Last}, {First: mmu.Upper.First, Last: r.Last}}
}
