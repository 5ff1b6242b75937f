package mmu

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"physgdb/bridge"
)

// Bits of an entry (Intel SDM vol. 3A, tables 4-15 to 4-20).
const (
	bitP   = 1 << 0  // present
	bitRW  = 1 << 1  // writable
	bitUS  = 1 << 2  // user
	bitPWT = 1 << 3  // write-through
	bitPCD = 1 << 4  // cache disable
	bitPS  = 1 << 7  // a page of 2 MiB or 1 GiB, not a table; reserved above that
	bitNX  = 1 << 63 // no execute
)

// Flags say what may be done with a page, all levels of its walk taken together, and what is
// special about it.
type Flags uint8

const (
	Writable   Flags = 1 << iota // RW at every level
	User                         // US at every level
	Executable                   // NX at no level
	Uncached                     // PCD or PWT in the leaf: most likely a device, not RAM
	Resident                     // the entry is not present, but its page is still in RAM; see Options.Resident
)

// String writes the rights as rwx and u (user) or k (kernel), as in "r-xk", then what is special.
func (f Flags) String() string {
	b := []byte("r--k")
	if f&Writable != 0 {
		b[1] = 'w'
	}
	if f&Executable != 0 {
		b[2] = 'x'
	}
	if f&User != 0 {
		b[3] = 'u'
	}
	if f&Uncached != 0 {
		b = append(b, ",uncached"...)
	}
	if f&Resident != 0 {
		b = append(b, ",resident"...)
	}
	return string(b)
}

// Mapping is a page, or adjacent pages, of an address space.
type Mapping struct {
	VA    uint64          // first virtual address
	PA    bridge.PhysAddr // where it lies in physical memory
	Size  uint64          // bytes mapped; the size of the page unless pages were merged
	Page  uint64          // size of one page: 4 KiB, 2 MiB or 1 GiB
	Flags Flags
	top   uint8 // level of the top-level table
}

// Path returns the index taken through each table, from the top, to the first page.
func (m *Mapping) Path() []uint16 {
	var path []uint16
	for level := int(m.top); level > 0 && pageSize(level) >= m.Page; level-- {
		path = append(path, uint16(index(level, m.VA)))
	}
	return path
}

// Phys returns where va, an address within the mapping, lies in physical memory.
func (m *Mapping) Phys(va uint64) bridge.PhysAddr { return m.PA + bridge.PhysAddr(va-m.VA) }

// Translation is what became of one address of many.
type Translation struct {
	Mapping
	Err error
}

// missingTable is the error of a walk that needs a table which has not been read.
type missingTable struct {
	key    tableKey
	parent *table // nil for the top-level table
	index  int    // of the entry in parent
}

// Translate finds the page that va lies in. The error is a [*Fault] unless a table could not be
// read.
func (s *Space) Translate(ctx context.Context, va uint64) (mp Mapping, err error) {
	if s.lookup(va, &mp) {
		return mp, nil
	}
	for e := s.m.epoch.Load(); ; {
		need, err := s.walk(e, va, &mp)
		if need == nil {
			return mp, err
		}
		_, failed, err := s.m.load(ctx, e, []tableKey{need.key})
		if err == nil {
			err = failed[need.key]
		}
		if err != nil {
			return mp, need.fault(va, err)
		}
	}
}

// TranslateAll finds the pages of many addresses: out[i] is for vas[i]. It costs one scatter read
// per level at most. The error is for the memory as a whole, or ctx.
func (s *Space) TranslateAll(ctx context.Context, vas []uint64, out []Translation) error {
	e := s.m.epoch.Load()
	open := make([]int, len(vas)) // addresses still without an answer
	for i := range open {
		open[i] = i
	}
	for {
		type waiter struct {
			i    int
			need *missingTable
		}
		var keys []tableKey
		waiting := map[tableKey][]waiter{}
		for _, i := range open {
			need, err := s.walk(e, vas[i], &out[i].Mapping)
			if need == nil {
				out[i].Err = err
				continue
			}
			if waiting[need.key] == nil {
				keys = append(keys, need.key)
			}
			waiting[need.key] = append(waiting[need.key], waiter{i, need})
		}
		if len(keys) == 0 {
			return nil
		}
		_, failed, err := s.m.load(ctx, e, keys)
		if err != nil {
			return err
		}
		open = open[:0]
		for _, k := range keys {
			for _, w := range waiting[k] {
				if failed[k] == nil {
					open = append(open, w.i)
				} else {
					out[w.i] = Translation{Err: w.need.fault(vas[w.i], failed[k])}
				}
			}
		}
	}
}

// lookup is the fast path of walk: all tables are cached, and the page
// is one of 4 KiB.
func (s *Space) lookup(va uint64, mp *Mapping) bool {
	c := s.top.Load()
	if c == nil || c.epoch != s.m.epoch.Load() || uint64(int64(va<<(s.unused&63))>>(s.unused&63)) != va {
		return false
	}
	t, level, and, or := c.table.descend(s.root.Levels, va, ^uint64(0), 0, s.countedRights(va))
	entry := t.entries[va>>12&(entries-1)]
	if level != 1 || entry&bitP == 0 {
		return false
	}
	mp.VA, mp.PA = va&^(PageSize-1), bridge.PhysAddr(entry&addrMask&^s.root.CBit)
	mp.Size, mp.Page = PageSize, PageSize
	mp.Flags, mp.top = rights(and&entry, or|entry), uint8(s.root.Levels)
	if entry&(bitPCD|bitPWT) != 0 {
		mp.Flags |= Uncached
	}
	return true
}

// rights sums up what the entries of a walk allow: all of them together, or any of them.
func rights(and, or uint64) Flags {
	return Flags(and&bitRW>>1)*Writable | Flags(and&bitUS>>2)*User | Flags(^or>>63)*Executable
}

// walk goes from the top-level table to the page of va through cached tables. If one is missing it
// says which. The page is written to mp rather than returned, which would copy it at every step.
func (s *Space) walk(e *epoch, va uint64, mp *Mapping) (need *missingTable, err error) {
	if !s.root.Canonical(va) {
		return nil, &Fault{VA: va, Err: ErrNonCanonical}
	}
	t := s.topTable(e)
	if t == nil {
		return &missingTable{key: s.topKey()}, nil
	}
	and, or, count := ^uint64(0), uint64(0), s.countedRights(va)
	for level := s.root.Levels; ; {
		t, level, and, or = t.descend(level, va, and, or, count)
		if level != s.root.Levels {
			count = ^uint64(0)
		}
		i := index(level, va)
		entry := t.entries[i]
		if entry&bitP == 0 || level == 1 || entry&bitPS != 0 {
			return nil, s.leaf(t, level, i, and&entry, or|entry, va, mp)
		}
		if e.link(t, i, s.childKey(t, entry)) == nil {
			return &missingTable{s.childKey(t, entry), t, i}, nil
		}
	}
}

// descend follows linked tables from t, which is of the given level, as far as they lead. It takes
// in the rights of the entries it has passed, and and or; of the first entry only the bits in count
// have a say. It is all of a walk that takes time: it calls nothing, and of the last table it
// touches nothing at all, which is seldom in the CPU's caches.
func (t *table) descend(level int, va, and, or, count uint64) (*table, int, uint64, uint64) {
	for level > 1 {
		i := index(level, va)
		next := t.next[i].Load()
		if next == nil {
			break
		}
		entry := t.entries[i]
		and &= entry
		or |= entry & count
		t, level, count = next, level-1, ^uint64(0)
	}
	return t, level, and, or
}

// index returns which entry of a table of the given level is for va.
func index(level int, va uint64) int { return int(va >> (uint(3+9*level) & 63) & (entries - 1)) }

// countedRights returns which bits of va's top-level entry count.
func (s *Space) countedRights(va uint64) uint64 {
	if s.root.LowNX && int64(va) >= 0 {
		return ^uint64(bitNX)
	}
	return ^uint64(0)
}

// leaf ends a walk at entry i of t, a table of the given level. and and or are the rights of all
// levels together.
func (s *Space) leaf(t *table, level, i int, and, or, va uint64, mp *Mapping) error {
	entry := t.entries[i]
	base, flags, why := s.decode(level, entry)
	if why != nil {
		return &Fault{VA: va, Level: level, Index: i, Addr: t.at(i), Entry: entry, Err: why}
	}
	page := pageSize(level)
	mp.VA, mp.PA, mp.Size, mp.Page = va&^(page-1), base, page, page
	mp.Flags, mp.top = flags|rights(and, or), uint8(s.root.Levels)
	return nil
}

// decode reads an entry that leads to a page, or to nothing: the page's physical address and what
// is special about it.
func (s *Space) decode(level int, entry uint64) (base bridge.PhysAddr, flags Flags, why error) {
	if entry&bitP == 0 {
		if s.m.resident == nil || level > 3 || entry == 0 {
			return 0, 0, ErrNotPresent
		}
		base, text, ok := s.m.resident(level, entry)
		switch {
		case !ok && text != "":
			return 0, 0, fmt.Errorf("%w: %s", ErrNotPresent, text)
		case !ok:
			return 0, 0, ErrNotPresent
		}
		return base &^ bridge.PhysAddr(pageSize(level)-1), Resident, nil
	}
	if level > 3 { // PS is reserved there
		return 0, 0, ErrReserved
	}
	addr := entry & addrMask &^ s.root.CBit
	if level > 1 {
		if addr&(pageSize(level)-1)&^(1<<12) != 0 { // bit 12 is PAT
			return 0, 0, ErrReserved
		}
		addr &^= pageSize(level) - 1
	}
	if entry&(bitPCD|bitPWT) != 0 {
		flags = Uncached
	}
	return bridge.PhysAddr(addr), flags, nil
}

func (s *Space) topKey() tableKey { return tableKey{s.root.Table(), s.root.Levels} }

// topTable returns the top-level table if it has been read in this epoch.
func (s *Space) topTable(e *epoch) *table {
	if c := s.top.Load(); c != nil && c.epoch == e {
		return c.table
	}
	t := e.known(s.topKey())
	if t != nil {
		s.top.Store(&top{e, t})
	}
	return t
}

// loadTop returns the top-level table, which it reads if it must.
func (s *Space) loadTop(ctx context.Context, e *epoch) (*table, error) {
	if t := s.topTable(e); t != nil {
		return t, nil
	}
	key := s.topKey()
	found, failed, err := s.m.load(ctx, e, []tableKey{key})
	if err == nil {
		err = failed[key]
	}
	if err != nil {
		return nil, (&missingTable{key: key}).fault(0, err)
	}
	return found[0], nil
}

// childKey names the table that an entry of t leads to.
func (s *Space) childKey(t *table, entry uint64) tableKey {
	return tableKey{bridge.PhysAddr(entry & addrMask &^ s.root.CBit), t.level - 1}
}

// link returns the table of key if it is known, and remembers it at entry i of t.
func (e *epoch) link(t *table, i int, key tableKey) *table {
	next := e.known(key)
	if next != nil {
		t.next[i].Store(next)
	}
	return next
}

// at returns the physical address of entry i.
func (t *table) at(i int) bridge.PhysAddr { return t.addr + bridge.PhysAddr(i*entrySize) }

// pageSize returns how much an entry of the given level maps, in bytes.
func pageSize(level int) uint64 { return PageSize << (9 * (level - 1)) }

// fault returns the error of a table that could not be read.
func (n *missingTable) fault(va uint64, err error) error {
	if ctxErr := contextError(err); ctxErr != nil {
		return ctxErr
	}
	if n.parent == nil {
		return &Fault{VA: va, Err: fmt.Errorf("top-level table (CR3): %w", err)}
	}
	return &Fault{
		VA: va, Level: n.parent.level, Index: n.index, Addr: n.parent.at(n.index), Entry: n.parent.entries[n.index],
		Err: fmt.Errorf("leads to a table that cannot be read: %w", err),
	}
}

func contextError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Step is one entry that a walk looked at.
type Step struct {
	Level int             // of the entry: 5 (PML5) to 1 (PT)
	Index int             // of the entry in its table
	Addr  bridge.PhysAddr // of the entry
	Entry uint64
}

// Explain walks as Translate does and also returns every entry on the way, from the top, the last
// one included that ended a walk early.
func (s *Space) Explain(ctx context.Context, va uint64) ([]Step, Mapping, error) {
	mp, err := s.Translate(ctx, va)
	var steps []Step
	e := s.m.epoch.Load()
	for t := s.topTable(e); t != nil && s.root.Canonical(va); {
		i := index(t.level, va)
		entry := t.entries[i]
		steps = append(steps, Step{t.level, i, t.at(i), entry})
		if entry&bitP == 0 || t.level == 1 || entry&bitPS != 0 {
			break
		}
		t = e.known(s.childKey(t, entry))
	}
	return steps, mp, err
}

// Top returns the entries of the top-level table.
func (s *Space) Top(ctx context.Context) ([]uint64, error) {
	t, err := s.loadTop(ctx, s.m.epoch.Load())
	if err != nil {
		return nil, err
	}
	return slices.Clone(t.entries[:]), nil
}
