package query

import (
	"context"
	"fmt"
	"iter"

	"physgdb/cmd/internal/machine"
	"physgdb/mmu"
)

// MapsOptions select mappings.
type MapsOptions struct {
	Range mmu.Range
	All   bool // every page by itself; otherwise adjacent pages and repeated ones are one Mapping
	Max   int  // how many mappings at most; 0 for all
}

// Mapping is a range of virtual addresses that is mapped.
type Mapping struct {
	VA    string   `json:"va"`
	End   string   `json:"end"`   // the first address after it
	PA    string   `json:"pa"`    // the physical address of its first page
	Page  uint64   `json:"page"`  // bytes of one page
	Flags string   `json:"flags"` // rwx; u for user, k for kernel
	Path  []uint16 `json:"path"`  // the index in each page table on the way to its first page
	RAM   bool     `json:"ram"`   // false: not RAM, or not known to be, and never read
	// Times is how often the same pages are mapped from VA on, Stride bytes apart; 0 if once.
	Times  uint64 `json:"times,omitempty"`
	Stride uint64 `json:"stride,omitempty"`
}

// MapsResult describes a list of mappings that has ended.
type MapsResult struct {
	Pages, Lines uint64
	More         bool // MapsOptions.Max was reached
}

// Maps calls each for every mapping of space that o selects, and damaged for each place of the page
// tables that cannot be followed. Its error, or that of each, ends the list; an error for an
// incomplete list counts the damaged places.
func Maps(ctx context.Context, m *machine.Machine, space *mmu.Space, o *MapsOptions, each func(*Mapping) error,
	damaged func(error)) (*MapsResult, error) {
	r := &MapsResult{}
	var first error
	places := 0
	for mp, err := range o.list(ctx, space) {
		if err != nil {
			if places++; places == 1 {
				first = err
			}
			damaged(err)
			continue
		}
		if r.More = o.Max > 0 && r.Lines == uint64(o.Max); r.More {
			break
		}
		r.Lines++
		r.Pages += mp.Size / mp.Page * mp.Times
		if err := each(newMapping(m, &mp)); err != nil {
			return r, err
		}
	}
	switch {
	case ctx.Err() != nil:
		return r, ctx.Err()
	case places > 0:
		return r, fmt.Errorf("the list is incomplete: places in the page tables that cannot be followed: %d, the first: %w", places, first)
	}
	return r, nil
}

// list enumerates what the options select.
func (o *MapsOptions) list(ctx context.Context, space *mmu.Space) iter.Seq2[mmu.Fold, error] {
	pages := space.Mappings(ctx, o.Range)
	if !o.All {
		return mmu.FoldEqual(mmu.Merge(pages))
	}
	return func(yield func(mmu.Fold, error) bool) {
		for mp, err := range pages {
			if !yield(mmu.Fold{Mapping: mp, Times: 1}, err) {
				return
			}
		}
	}
}

func newMapping(m *machine.Machine, mp *mmu.Fold) *Mapping {
	ram := m.Memory.Info().RAM
	isRAM := mp.Flags&mmu.Uncached == 0
	if ram.Known() {
		isRAM = ram.Contains(mp.PA, mp.Size)
	}
	next := mp.VA + (mp.Times-1)*mp.Stride + mp.Size
	end := fmt.Sprintf("%#x", next)
	if next == 0 {
		end = "0x10000000000000000"
	}
	mapping := &Mapping{
		VA: fmt.Sprintf("%#x", mp.VA), End: end, PA: fmt.Sprintf("%#x", uint64(mp.PA)),
		Page: mp.Page, Flags: mp.Flags.String(), Path: mp.Path(), RAM: isRAM,
	}
	if mp.Times > 1 {
		mapping.Times, mapping.Stride = mp.Times, mp.Stride
	}
	return mapping
}
