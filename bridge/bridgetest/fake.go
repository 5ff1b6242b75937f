package bridgetest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"physgdb/bridge"
)

// Fake is a memory made of byte slices. Fill it with Place and Fail before use; after that it is
// safe for concurrent use.
type Fake struct {
	Delay time.Duration // how long each ReadPhys takes

	parts []part
	bad   []fault

	mu     sync.Mutex // protects what follows
	counts bridge.Counts
	closed bool
}

type part struct {
	bridge.Range
	data []byte
}

type fault struct {
	bridge.Range
	err error
}

// NewFake makes a memory with ram at physical address 0; nil means none yet.
func NewFake(ram []byte) *Fake {
	f := &Fake{}
	f.Place(0, ram)
	return f
}

// Place puts RAM at addr, aliasing data. Parts must not overlap.
func (f *Fake) Place(addr bridge.PhysAddr, data []byte) {
	f.parts = append(f.parts, part{bridge.Range{Start: addr, End: addr + bridge.PhysAddr(len(data))}, data})
}

// Fail makes reads of the n bytes at addr end with err, inside RAM or out of it.
func (f *Fake) Fail(addr bridge.PhysAddr, n int, err error) {
	f.bad = append(f.bad, fault{bridge.Range{Start: addr, End: addr + bridge.PhysAddr(n)}, err})
}

// ReadPhys copies what was placed. Outside of it pieces fail with bridge.ErrNotRAM, the bytes
// before being good.
func (f *Fake) ReadPhys(ctx context.Context, ops []bridge.Op) error {
	if err := f.enter(ctx, ops); err != nil {
		return fmt.Errorf("fake memory: %w", err)
	}
	for i := range ops {
		op := &ops[i]
		op.Err = nil
		if n, err := f.read(op.Addr, op.Buf); err != nil {
			op.Err = &bridge.AccessError{Addr: op.Addr + bridge.PhysAddr(n), Len: len(op.Buf) - n, Err: err}
		}
	}
	return nil
}

// enter counts a call and takes its time.
func (f *Fake) enter(ctx context.Context, ops []bridge.Op) error {
	f.mu.Lock()
	closed := f.closed
	f.counts.Batches++
	f.counts.Reads += uint64(len(ops))
	for i := range ops {
		f.counts.Bytes += uint64(len(ops[i].Buf))
	}
	f.mu.Unlock()
	switch {
	case closed:
		return fmt.Errorf("closed")
	case f.Delay == 0:
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(f.Delay):
		return nil
	}
}

func (f *Fake) read(addr bridge.PhysAddr, p []byte) (n int, err error) {
	end := bridge.PhysAddr(len(p))
	for _, b := range f.bad {
		if b.Start < addr+bridge.PhysAddr(len(p)) && addr < b.End {
			if off := max(b.Start, addr) - addr; off < end || err == nil {
				end, err = off, b.err
			}
		}
	}
	for n < int(end) {
		moved := f.copyAt(addr+bridge.PhysAddr(n), p[n:end])
		if moved == 0 {
			return n, bridge.ErrNotRAM
		}
		n += moved
	}
	return n, err
}

func (f *Fake) copyAt(addr bridge.PhysAddr, p []byte) int {
	for i := range f.parts {
		if s := &f.parts[i]; addr >= s.Start && addr < s.End {
			return copy(p, s.data[addr-s.Start:])
		}
	}
	return 0
}

// Info names the memory and gives its map: what was placed.
func (f *Fake) Info() bridge.Info {
	ranges := make([]bridge.Range, len(f.parts))
	for i := range f.parts {
		ranges[i] = f.parts[i].Range
	}
	return bridge.Info{Name: "fake", RAM: bridge.NewRAMMap(ranges)}
}

// Counts returns the calls of ReadPhys so far (Batches), the pieces in them (Reads) and the bytes
// those asked for.
func (f *Fake) Counts() bridge.Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

// Close makes further reads fail.
func (f *Fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}
