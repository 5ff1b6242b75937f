package query

import (
	"physgdb/bridge"
	"physgdb/cmd/internal/machine"
)

// Stats is what reads of a machine's memory have cost.
type Stats struct {
	Reads   uint64 `json:"reads"`
	Batches uint64 `json:"batches"`
	Bytes   uint64 `json:"bytes"`
	Packets uint64 `json:"packets,omitempty"` // that were sent
	Retries uint64 `json:"retries,omitempty"` // packets that were sent again
	// InPlace is set if the source is a mapped file: what is read in place is not counted.
	InPlace bool `json:"in_place,omitempty"`
}

// ReadStats returns what the memory of a machine has cost so far.
func ReadStats(m *machine.Memory) Stats { return newStats(m, m.Counts()) }

func newStats(m *machine.Memory, c bridge.Counts) Stats {
	return Stats{c.Reads, c.Batches, c.Bytes, c.Packets, c.Retries, !m.Cached}
}
