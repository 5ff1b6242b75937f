package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"physgdb/bridge"
	"physgdb/gdbstub"
	"physgdb/mmu"
	"physgdb/symbols/linux"
)

// regionKey names a half of an address space: a list of regions is kept for each that was asked
// about.
type regionKey struct {
	space *mmu.Space
	half  mmu.Range
}

// regionState is how far the list of a half has come.
type regionState struct {
	list  regionList
	made  bool
	tries int // that failed
}

// Bounds of what is kept of regions, and of what is tried for them.
const (
	maxRegions     = 1 << 18 // in one list
	maxRegionLists = 16
	maxRegionTries = 3
)

// Region returns the region of an address, by the page tables, from a list that is made when the
// first address of its half is asked for. Where page tables take too long to read, each of the
// first tries gets further, as tables are kept; until then the answer comes from a walk to the
// address itself.
func (s *session) Region(ctx context.Context, id gdbstub.ThreadID, addr uint64) (gdbstub.Region, error) {
	if s.memoryBlocked != nil {
		return gdbstub.Region{}, s.memoryBlocked
	}
	if s.physical {
		return s.physicalRegion(addr)
	}
	t, err := s.thread(ctx, id)
	if err != nil {
		return gdbstub.Region{}, err
	}
	space, err := s.spaceFor(ctx, t, addr)
	if err != nil {
		return gdbstub.Region{}, err
	}
	key := regionKey{space, mmu.Lower}
	if addr >= mmu.Upper.First {
		key.half = mmu.Upper
	}
	state := s.regionState(key)
	if !state.made && state.tries < maxRegionTries {
		if err := s.listHalf(ctx, key, state); err != nil {
			state.tries++
			s.m.Log.Info("the regions of an address space are not listed yet", "why", err, "tries", state.tries)
		}
	}
	if !state.made {
		return regionAround(ctx, space, addr)
	}
	return state.list.at(addr, key.half), nil
}

func (s *session) regionState(key regionKey) *regionState {
	if state := s.regions[key]; state != nil {
		return state
	}
	if s.regions == nil || len(s.regions) >= maxRegionLists {
		s.regions = map[regionKey]*regionState{}
	}
	state := &regionState{}
	s.regions[key] = state
	return state
}

// listHalf makes the list of a half in half of the time that there is: the rest is for an answer
// without it.
func (s *session) listHalf(ctx context.Context, key regionKey, state *regionState) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	var areas []linux.Area
	if key.half == mmu.Upper && s.m.Kernel.Symbols != nil {
		var err error
		if areas, err = s.m.Kernel.Areas(ctx); err != nil {
			s.m.Log.Info("some regions of memory have no names", "why", err)
		}
	}
	list, err := listRegions(ctx, key.space, key.half, areas)
	if err == nil {
		state.list, state.made = list, true
	}
	return err
}

// regionList is runs of pages of equal rights, in the order of their addresses, without the holes
// between them.
type regionList []gdbstub.Region

// listRegions lists what is mapped in a range. What is below damaged tables counts as not mapped;
// the error is for a list that ends too early.
func listRegions(ctx context.Context, space *mmu.Space, within mmu.Range, areas []linux.Area) (regionList, error) {
	var list regionList
	for mp, err := range space.Mappings(ctx, within) {
		var damage *mmu.Fault
		switch {
		case err == nil:
			list = list.add(&mp, areas)
		case !errors.As(err, &damage) || errors.Is(err, mmu.ErrTooMany) || errors.Is(err, bridge.ErrTimeout):
			return nil, err
		}
		if len(list) > maxRegions {
			return nil, fmt.Errorf("there are more than %d regions", maxRegions)
		}
	}
	return list, ctx.Err()
}

// add appends a page, or joins it to the region before. Where an area ends, a region does.
func (l regionList) add(mp *mmu.Mapping, areas []linux.Area) regionList {
	last := mp.VA + (mp.Size - 1)
	for first := mp.VA; ; {
		name, end := areaAt(areas, first)
		r := gdbstub.Region{
			First: first, Last: min(end, last), Mapped: true, Name: name,
			Read: true, Write: mp.Flags&mmu.Writable != 0, Execute: mp.Flags&mmu.Executable != 0,
		}
		if n := len(l); n > 0 && goesOn(l[n-1], r) {
			l[n-1].Last = r.Last
		} else {
			l = append(l, r)
		}
		if r.Last == last {
			return l
		}
		first = r.Last + 1
	}
}

// goesOn reports whether b is more of the region before it.
func goesOn(a, b gdbstub.Region) bool {
	touch := a.Last+1 == b.First
	a.First, a.Last = b.First, b.Last
	return touch && a == b
}

// areaAt returns the name of the area of an address, or "", and the last address before the end of
// that area or the next one.
func areaAt(areas []linux.Area, addr uint64) (name string, last uint64) {
	i, _ := slices.BinarySearchFunc(areas, addr, func(a linux.Area, addr uint64) int { return cmp.Compare(a.Last, addr) })
	switch {
	case i == len(areas):
		return "", ^uint64(0)
	case addr < areas[i].First:
		return "", areas[i].First - 1
	}
	return areas[i].Name, areas[i].Last
}

// at returns the region or the hole that an address lies in; within is what was listed.
func (l regionList) at(addr uint64, within mmu.Range) gdbstub.Region {
	i, _ := slices.BinarySearchFunc(l, addr, func(r gdbstub.Region, addr uint64) int { return cmp.Compare(r.Last, addr) })
	hole := gdbstub.Region{First: within.First, Last: within.Last}
	if i < len(l) {
		if l[i].First <= addr {
			return l[i]
		}
		hole.Last = l[i].First - 1
	}
	if i > 0 {
		hole.First = l[i-1].Last + 1
	}
	return hole
}

// regionAround returns what one walk to an address shows: the region within the same page table, or
// all that an empty entry of a higher table leaves out.
func regionAround(ctx context.Context, space *mmu.Space, addr uint64) (gdbstub.Region, error) {
	const tableBits, pageBits = 9, 12
	level := 1
	var fault *mmu.Fault
	_, err := space.Translate(ctx, addr)
	switch {
	case errors.Is(err, mmu.ErrNonCanonical):
		half := uint64(1) << (pageBits + tableBits*space.Root().Levels - 1)
		return gdbstub.Region{First: half, Last: -half - 1}, nil
	case errors.As(err, &fault) && errors.Is(err, mmu.ErrNotPresent):
		level = fault.Level
	case err != nil:
		return gdbstub.Region{}, fmt.Errorf("memory region at %#x: %w", addr, err)
	}
	size := uint64(1) << (pageBits + tableBits*max(1, level-1))
	within := mmu.Range{First: addr &^ (size - 1), Last: addr | (size - 1)}
	list, err := listRegions(ctx, space, within, nil)
	return list.at(addr, within), err
}
