package mmu

import (
	"context"
	"errors"
	"iter"
	"slices"

	"physgdb/bridge"
)

// Range is a stretch of virtual addresses, both ends included, so that it can reach the top of the
// address space.
type Range struct{ First, Last uint64 }

// All is every virtual address.
var All = Range{0, ^uint64(0)}

// Lower and Upper are the halves of the address space: user space and the kernel's, by every
// system's custom.
var (
	Lower = Range{0, 1<<63 - 1}
	Upper = Range{1 << 63, ^uint64(0)}
)

// Mappings enumerates every page mapped in r, in the order of addresses, each with the index path
// to it. Mapped pages are listed, not read, so they need not be RAM.
//
// A part of the tables that cannot be read or is invalid yields an error, and the enumeration
// continues after it. It ends after [ErrTooMany] and when ctx is done.
func (s *Space) Mappings(ctx context.Context, r Range) iter.Seq2[Mapping, error] {
	return func(yield func(Mapping, error) bool) {
		w := &enumerator{s: s, ctx: ctx, r: r, e: s.m.epoch.Load(), budget: s.m.maxTables, yield: yield}
		t, err := s.loadTop(ctx, w.e)
		if err != nil {
			yield(Mapping{}, err)
			return
		}
		w.visit(t, 0, bitRW|bitUS, 0)
	}
}

// enumerator is an enumeration in progress.
type enumerator struct {
	s      *Space
	ctx    context.Context
	r      Range
	e      *epoch
	budget int // tables that may still be visited
	above  []bridge.PhysAddr
	yield  func(Mapping, error) bool
}

// visit enumerates what t maps; base is the first address it maps, and and or are the rights so
// far. It returns false when the enumeration is over.
func (w *enumerator) visit(t *table, base, and, or uint64) bool {
	if w.budget--; w.budget < 0 {
		w.yield(Mapping{}, &Fault{VA: base, Err: ErrTooMany})
		return false
	}
	w.above = append(w.above, t.addr)
	defer func() { w.above = w.above[:len(w.above)-1] }()

	children, failed, err := w.prefetch(t, base)
	if err != nil {
		w.yield(Mapping{}, err)
		return false
	}
	for i := range entries {
		entry := t.entries[i]
		va := w.s.root.extend(base + uint64(i)*pageSize(t.level))
		if entry == 0 || !w.wanted(va, t.level) {
			continue
		}
		if entry&bitP == 0 || t.level == 1 || entry&bitPS != 0 {
			if !w.leaf(t, i, and&entry, or|entry, va) {
				return false
			}
			continue
		}
		key := w.s.childKey(t, entry)
		why := failed[key]
		if slices.Contains(w.above, key.addr) {
			why = ErrLoop
		}
		if why != nil {
			if !w.yield(Mapping{}, &Fault{VA: va, Level: t.level, Index: i, Addr: t.at(i), Entry: entry, Err: why}) {
				return false
			}
			continue
		}
		count := ^uint64(0)
		if t.level == w.s.root.Levels {
			count = w.s.countedRights(va)
		}
		if !w.visit(children[key], va, and&entry, or|entry&count) {
			return false
		}
	}
	return true
}

// leaf yields the page of entry i of t, if there is one.
func (w *enumerator) leaf(t *table, i int, and, or, va uint64) bool {
	var mp Mapping
	err := w.s.leaf(t, t.level, i, and, or, va, &mp)
	if errors.Is(err, ErrNotPresent) {
		return true
	}
	return w.yield(mp, err)
}

// prefetch brings every table that entries of t lead to, those not known yet in one scatter read.
func (w *enumerator) prefetch(t *table, base uint64) (children map[tableKey]*table, failed map[tableKey]error, err error) {
	if t.level == 1 {
		return nil, nil, w.ctx.Err()
	}
	var keys []tableKey
	children = map[tableKey]*table{}
	for i := range entries {
		entry := t.entries[i]
		va := w.s.root.extend(base + uint64(i)*pageSize(t.level))
		if entry&bitP == 0 || entry&bitPS != 0 || !w.wanted(va, t.level) {
			continue
		}
		key := w.s.childKey(t, entry)
		if _, ok := children[key]; !ok {
			if children[key] = w.e.known(key); children[key] == nil {
				keys = append(keys, key)
			}
		}
	}
	if len(keys) == 0 {
		return children, nil, w.ctx.Err()
	}
	found, failed, err := w.s.m.load(w.ctx, w.e, keys)
	for _, t := range found {
		children[t.tableKey] = t
	}
	return children, failed, err
}

// wanted reports whether what an entry of the given level maps at va touches the range asked for.
func (w *enumerator) wanted(va uint64, level int) bool {
	return va <= w.r.Last && va+(pageSize(level)-1) >= w.r.First
}

// extend makes an address of the bits that were translated: those above them are copies of the
// highest.
func (r Root) extend(va uint64) uint64 {
	shift := 64 - r.bits()
	return uint64(int64(va<<shift) >> shift)
}

// Merge joins adjacent pages of an enumeration: those that follow each other in virtual and in
// physical memory, of equal size and rights. The path is that of the first page.
func Merge(pages iter.Seq2[Mapping, error]) iter.Seq2[Mapping, error] {
	return func(yield func(Mapping, error) bool) {
		var run Mapping
		flush := func() bool { return run.Size == 0 || yield(run, nil) }
		for mp, err := range pages {
			if err != nil {
				if !flush() || !yield(mp, err) {
					return
				}
				run = Mapping{}
				continue
			}
			if run.Size > 0 && run.VA+run.Size == mp.VA && run.PA+bridge.PhysAddr(run.Size) == mp.PA &&
				run.Page == mp.Page && run.Flags == mp.Flags {
				run.Size += mp.Size
				continue
			}
			if !flush() {
				return
			}
			run = mp
		}
		flush()
	}
}
