package target

import (
	"context"

	"physgdb/mmu"
)

// readAhead fetches what a debugger will ask for next while it is busy with what it got. gdb dumps
// memory 64 KiB at a time, one after the other, and would wait for each.
//
// What is fetched goes into the cache of the machine's memory and is found there. At most one piece
// is under way, as long as the last one that was asked for. The owner of a readAhead must stop it.
type readAhead struct {
	on    bool       // there is a cache, and a need for it
	space *mmu.Space // in which the last piece was read
	next  uint64     // address after it
	fetch *fetch     // nil if there was none yet
}

// fetch is a piece under way, or fetched.
type fetch struct {
	space  *mmu.Space
	at     uint64
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
}

// await waits for the piece at an address if it is under way, and ends a fetch of any other, which
// would be in the way.
func (a *readAhead) await(ctx context.Context, space *mmu.Space, at uint64) {
	f := a.fetch
	if f == nil {
		return
	}
	if f.space != space || f.at != at {
		f.cancel()
	}
	select {
	case <-f.done:
	case <-ctx.Done():
	}
}

// note takes in that n bytes at an address were read, and fetches what follows if they followed
// what was read before.
func (a *readAhead) note(space *mmu.Space, at uint64, n int) {
	goesOn := a.space == space && a.next == at
	a.space, a.next = space, at+uint64(n)
	if !a.on || !goesOn || n < mmu.PageSize || a.next < at {
		return
	}
	a.stop()
	ctx, cancel := context.WithCancel(context.Background())
	a.fetch = &fetch{space, a.next, cancel, make(chan struct{})}
	go a.fetch.run(ctx, n)
}

// run reads n bytes for the cache. An error is reported to the next reader of these bytes.
func (f *fetch) run(ctx context.Context, n int) {
	defer close(f.done)
	defer f.cancel()
	_, _ = f.space.ReadMemory(ctx, f.at, make([]byte, n))
}

// stop ends the fetch that is under way, if there is one, and returns when it has ended.
func (a *readAhead) stop() {
	if a.fetch != nil {
		a.fetch.cancel()
		<-a.fetch.done
	}
}
