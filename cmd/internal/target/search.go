package target

import (
	"context"
	"fmt"
	"time"

	"physgdb/cmd/internal/query"
	"physgdb/cmd/internal/size"
	"physgdb/gdbstub"
	"physgdb/mmu"
)

// SearchMemory finds a pattern for gdb, which asks for one place at a time.
func (s *session) SearchMemory(ctx context.Context, id gdbstub.ThreadID, addr, length uint64, pattern []byte) (
	at uint64, found bool, err error) {
	if s.memoryBlocked != nil {
		return 0, false, s.memoryBlocked
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
	return p.findFirst(ctx, addr, length, pattern, func(uint64) (*mmu.Space, error) { return p.current(ctx) })
}

// findFirst returns the first place of a pattern, in the space that an address belongs to, or in
// physical memory.
func (v *view) findFirst(ctx context.Context, addr, length uint64, pattern []byte,
	spaceFor func(first uint64) (*mmu.Space, error)) (at uint64, found bool, err error) {
	if length == 0 {
		return 0, false, nil
	}
	begin := time.Now()
	search := query.NewSearch(v.m.Memory, [][]byte{pattern}, func(place uint64) bool {
		at, found = place, true
		return false
	})
	for _, r := range query.Halves(mmu.Range{First: addr, Last: addr + (length - 1)}) {
		err := v.searchHalf(ctx, search, r, spaceFor)
		switch {
		case found:
			return at, true, nil
		case ctx.Err() != nil:
			return 0, false, fmt.Errorf("the search stopped at %#x after %s and %v, the limit of gdb; monitor find has no such limit",
				search.Next(), size.Text(search.Done), time.Since(begin).Round(100*time.Millisecond))
		case err != nil:
			return 0, false, fmt.Errorf("%w; monitor find skips memory that cannot be read", err)
		}
	}
	return 0, false, nil
}

func (v *view) searchHalf(ctx context.Context, search *query.Search, r mmu.Range,
	spaceFor func(first uint64) (*mmu.Space, error)) error {
	if v.physical {
		return search.RunPhysical(ctx, r)
	}
	space, err := spaceFor(r.First)
	if err != nil {
		return err
	}
	return search.Run(ctx, space, r)
}
