package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"physgdb/bridge"
	"physgdb/bridge/dump"
	"physgdb/bridge/nettlp"
	"physgdb/internal/regular"
)

// cacheSize is how much of a dead host's memory is remembered where each read costs a round trip,
// in bytes.
const cacheSize = 64 << 20

// Memory is the physical memory of a machine, safely wrapped: [bridge.Cache], where it pays, around
// [bridge.Guard] around [bridge.Meter] around the bridge.
type Memory struct {
	bridge.Memory
	source bridge.Memory // the bridge itself
	guard  *bridge.Guard
	meter  *bridge.Meter
	byUser bridge.RAMMap

	// RAMFrom says where the RAM map comes from; empty if there is none.
	RAMFrom string
	// Cached is set if memory that was read once is kept. It is not set for a mapped file, which is
	// read in place.
	Cached bool
	// Layout is the layout that was found to fit, in the form of a source's map=; empty if the
	// source's own is used.
	Layout string
}

// The origins of the RAM map: the user, or the source itself.
const (
	ramByUser      = "by --ram"
	ramAllOfSource = "all of the source"
)

// Counts returns what the memory cost so far.
func (m *Memory) Counts() bridge.Counts { return m.meter.Counts() }

// ReadUncached reads like ReadPhys, but not through the cache: large reads of what is needed once
// would evict what is needed again.
func (m *Memory) ReadUncached(ctx context.Context, ops []bridge.Op) error {
	return m.guard.ReadPhys(ctx, ops)
}

// Viewer returns the memory's ability to show RAM in place, or nil if the source has not got it.
func (m *Memory) Viewer() bridge.Viewer { return bridge.ViewerOf(m.Memory) }

// Hints returns the hints of the source.
func (m *Memory) Hints(ctx context.Context) (bridge.Hints, error) {
	return bridge.HintsOf(ctx, m.Memory)
}

// OpenMemory opens the source and, if there is one, the RAM map.
func OpenMemory(ctx context.Context, o *Options) (*Memory, error) {
	var ram bridge.RAMMap
	if o.RAM != "" {
		var err error
		if ram, err = readRAMMap(o.RAM); err != nil {
			return nil, err
		}
	}
	mem, err := openSource(ctx, o)
	if err != nil {
		return nil, err
	}
	if ram.Known() && mem.Info().RAM.Known() && !mem.Info().RAM.Intersect(ram).Known() {
		mem.Close()
		return nil, fmt.Errorf("--ram %s: no range of it is in %s, which has %v; is it the map of this machine?", o.RAM, o.Source,
			mem.Info().RAM)
	}
	return NewMemory(mem, ram), nil
}

// NewMemory makes a bridge safe and quick to read. ram is the RAM map of the user; it may be
// unknown.
func NewMemory(mem bridge.Memory, ram bridge.RAMMap) *Memory {
	m := &Memory{source: mem, meter: bridge.NewMeter(mem)}
	m.guard, m.byUser = bridge.NewGuard(m.meter, ram), ram
	switch {
	case ram.Known():
		m.RAMFrom = ramByUser
	case mem.Info().RAM.Known():
		m.RAMFrom = ramAllOfSource
	}
	if bridge.ViewerOf(mem) != nil {
		m.Memory = m.guard
	} else {
		m.Memory, m.Cached = bridge.NewCache(m.guard, cacheSize), true
	}
	return m
}

func openSource(ctx context.Context, o *Options) (bridge.Memory, error) {
	if o.Source == "" {
		return nil, Usagef("SOURCE is empty: %s", sourceForms)
	}
	openers := map[string]bridge.Opener{"file": dump.Open, "nettlp": nettlp.Open}
	mem, err := bridge.Open(ctx, o.Source, openers, &bridge.Options{Timeout: o.Timeout, Logger: o.Log})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("source %s: no such file; %s", o.Source, sourceForms)
	}
	if why := reason(err); why != err {
		return nil, fmt.Errorf("source %s: %w", o.Source, why)
	}
	return mem, err
}

// sourceForms reminds of what a source may be.
const sourceForms = "want a path, or a URL such as nettlp://ADDRESS?local=ADDRESS&requester=BUS:DEV"

// reason returns why a file could not be read, without its name, which the caller adds. It returns
// any other error unchanged.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func readRAMMap(path string) (bridge.RAMMap, error) {
	f, err := regular.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--ram %s: %w", path, reason(err))
	}
	defer f.Close()
	ram, err := bridge.ParseRAMMap(f)
	if err != nil {
		return nil, fmt.Errorf("--ram %s: %w", path, reason(err))
	}
	return ram, nil
}
