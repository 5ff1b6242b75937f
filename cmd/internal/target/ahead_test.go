package target

import (
	"bytes"
	"testing"
	"time"

	"physgdb/bridge/bridgetest"
	"physgdb/cmd/internal/machine"
	"physgdb/mmu"
	"physgdb/test/rig"
)

// sequential is a reader, as a debugger that dumps memory is one, of scattered memory that is read
// remotely.
type sequential struct {
	t     *testing.T
	mem   *machine.Memory
	space *mmu.Space
	ahead readAhead
}

func newSequential(t *testing.T) *sequential {
	image := rig.NewScattered()
	mem := machine.NewMemory(bridgetest.NewFake(image.RAM), nil)
	space, err := mmu.New(mem, nil).Space(mmu.Root{CR3: uint64(image.Top), Levels: 4})
	rig.Must(t, err)
	s := &sequential{t: t, mem: mem, space: space}
	s.ahead.on = mem.Cached
	t.Cleanup(s.ahead.stop)
	return s
}

// read reads as a session does, and returns how many bytes crossed the bridge before it was done.
func (s *sequential) read(at uint64, n int) (crossed uint64) {
	s.t.Helper()
	s.ahead.await(ctx, s.space, at)
	before := s.mem.Counts().Bytes
	p := make([]byte, n)
	_, err := s.space.ReadMemory(ctx, at, p)
	rig.Must(s.t, err)
	crossed = s.mem.Counts().Bytes - before
	s.ahead.note(s.space, at, n)
	return crossed
}

func TestReadAhead(t *testing.T) {
	const page = mmu.PageSize
	s := newSequential(t)
	if s.read(rig.ScatteredVA, page) == 0 || s.read(rig.ScatteredVA+page, page) == 0 {
		t.Fatal("nothing crossed the bridge for what was never read")
	}
	if n := s.read(rig.ScatteredVA+2*page, page); n != 0 {
		t.Errorf("%d bytes crossed the bridge for what came ahead", n)
	}
	if n := s.read(rig.ScatteredVA+3*page, page); n != 0 {
		t.Errorf("%d bytes crossed the bridge for what came ahead", n)
	}
	s.ahead.stop()
	s.read(rig.ScatteredVA+4*page, page) // the last before the hole
	s.ahead.stop()                       // an unneeded fetch does no harm
}

func TestNothingIsFetchedAheadOfScatteredReads(t *testing.T) {
	s := newSequential(t)
	for _, at := range []uint64{0, 3 * mmu.PageSize, mmu.PageSize, 4 * mmu.PageSize} {
		s.read(rig.ScatteredVA+at, mmu.PageSize)
	}
	for i := range uint64(8) { // the cache lines of a stack
		s.read(rig.ScatteredVA+i*64, 64)
	}
	if s.ahead.fetch != nil {
		t.Errorf("something was fetched from %#x on", s.ahead.fetch.at)
	}
}

func TestUnneededFetchIsCanceled(t *testing.T) {
	s := newSequential(t)
	slow := bridgetest.NewFake(bytes.Repeat([]byte{1}, 1<<20))
	slow.Delay = time.Minute
	space, err := mmu.New(slow, nil).Space(mmu.Root{CR3: 0x1000, Levels: 4})
	rig.Must(t, err)
	s.ahead.space, s.ahead.next = space, 0x1000
	s.ahead.note(space, 0x1000, mmu.PageSize)
	begin := time.Now()
	s.read(rig.ScatteredVA, mmu.PageSize)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("another read took %v", took)
	}
}
