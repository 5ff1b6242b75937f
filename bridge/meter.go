package bridge

import (
	"context"
	"sync/atomic"
)

// Meter counts what passes it: each read of a bridge costs a round trip, so what a command costs is worth knowing.
// Views cost nothing and are not counted.
type Meter struct {
	Memory
	viewer                Viewer
	batches, reads, bytes atomic.Uint64
}

// NewMeter counts the reads of mem.
func NewMeter(mem Memory) *Meter {
	m := &Meter{Memory: mem}
	m.viewer, _ = mem.(Viewer)
	return m
}

func (m *Meter) ReadPhys(ctx context.Context, ops []Op) error {
	var n uint64
	for i := range ops {
		n += uint64(len(ops[i].Buf))
	}
	m.batches.Add(1)
	m.reads.Add(uint64(len(ops)))
	m.bytes.Add(n)
	return m.Memory.ReadPhys(ctx, ops)
}

// View shows memory in place where the memory behind the meter can.
func (m *Meter) View(addr PhysAddr, n int) ([]byte, bool) {
	if m.viewer == nil {
		return nil, false
	}
	return m.viewer.View(addr, n)
}

// Counts returns what was counted so far, with what the bridge itself counts.
func (m *Meter) Counts() Counts {
	var c Counts
	if inner, ok := m.Memory.(Counted); ok {
		c = inner.Counts()
	}
	c.Batches, c.Reads, c.Bytes = m.batches.Load(), m.reads.Load(), m.bytes.Load()
	return c
}
