package nettlp

import (
	"sync"
	"sync/atomic"

	"physgdb/bridge"
)

// maxOffenders is how many addresses [Stats] keeps of requests outside RAM.
const maxOffenders = 8

// Stats counts what an adapter saw and did since it was made.
type Stats struct {
	Requests    uint64 // memory reads received
	Completions uint64 // CplDs sent, or lost on purpose
	Bytes       uint64 // of RAM in them
	Unsupported uint64 // requests answered UR
	Aborted     uint64 // requests answered CA, because a read of its memory failed
	OutsideRAM  uint64 // memory reads that touch anything but RAM; answered UR
	// Offenders are the addresses of the first few of those.
	Offenders []bridge.PhysAddr
	Crossing  uint64 // memory reads dropped because they cross a 4 KiB boundary
	Writes    uint64 // memory writes dropped: the adapter is read-only
	Malformed uint64 // datagrams dropped because they are no TLP that it knows
	Dropped   uint64 // requests and completions lost on purpose, and completions the kernel did not take
}

// counters are written by the goroutine that serves and read by any.
type counters struct {
	requests, completions, bytes, unsupported, aborted, outsideRAM atomic.Uint64
	crossing, writes, malformed, dropped                           atomic.Uint64

	mu        sync.Mutex
	offenders []bridge.PhysAddr
}

// outside notes a request that touches something else than RAM.
func (c *counters) outside(addr bridge.PhysAddr) {
	c.outsideRAM.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.offenders) < maxOffenders {
		c.offenders = append(c.offenders, addr)
	}
}

func (c *counters) stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{
		Requests:    c.requests.Load(),
		Completions: c.completions.Load(),
		Bytes:       c.bytes.Load(),
		Unsupported: c.unsupported.Load(),
		Aborted:     c.aborted.Load(),
		OutsideRAM:  c.outsideRAM.Load(),
		Offenders:   append([]bridge.PhysAddr(nil), c.offenders...),
		Crossing:    c.crossing.Load(),
		Writes:      c.writes.Load(),
		Malformed:   c.malformed.Load(),
		Dropped:     c.dropped.Load(),
	}
}
