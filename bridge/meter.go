package bridge

import (
	"context"
	"sync/atomic"
)

// Meter counts what passes it: each read of a bridge costs a round trip, so what a command costs is
// worth knowing. Views cost nothing and are not counted.
type Meter struct {
	Memory
	batches, reads, bytes atomic.Uint64
}

// NewMeter counts the reads of mem.
func NewMeter(mem Memory) *Meter {
	return &Meter{Memory: mem}
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

// Viewer returns the metered memory's ability to show memory in place, or nil.
func (m *Meter) Viewer() Viewer { return ViewerOf(m.Memory) }

// Counts returns what was counted so far, with what the bridge itself counts.
func (m *Meter) Counts() Counts {
	var c Counts
	if inner, ok := m.Memory.(Counted); ok {
		c = inner.Counts()
	}
	c.Batches, c.Reads, c.Bytes = m.batches.Load(), m.reads.Load(), m.bytes.Load()
	return c
}
