// Package mmu walks x86-64 page tables in the physical memory of another machine, as its own memory
// management unit no longer does: virtual addresses to physical ones, bytes at virtual addresses,
// and every mapping there is.
//
// Reads of a remote memory cost round trips, not instructions, so everything that may want many
// addresses at once asks for them in one scatter read per level of the tables. Page tables are
// kept, translations are not: a whole address space uses a few hundred tables, and a walk over
// cached tables costs nanoseconds.
//
// The format is that of the Intel SDM, volume 3A, chapter 4 (4-level and 5-level paging). Nothing
// here knows Linux; what an operating system keeps in entries that are not present is decoded by
// [Options].Resident.
package mmu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"physgdb/bridge"
)

// PageSize is the size of a page table and of the smallest page, in bytes.
const PageSize = bridge.PageSize

const (
	entries   = 512 // in one table
	entrySize = 8   // bytes
	// keptTables bounds the tables kept: 64 to 128 MiB. A 4-level address space of 16 GiB in 4 KiB
	// pages fits.
	keptTables = 1 << 14
)

// Options are the settings of an MMU. Nil means the defaults.
type Options struct {
	// Resident decodes an entry whose present bit is clear: the page may be in RAM nevertheless.
	// level is 1 for an entry that would map 4 KiB, 2 for 2 MiB, 3 for 1 GiB. It returns the page's
	// physical address and true, or false and what is known about the page ("" if nothing).
	Resident func(level int, entry uint64) (base bridge.PhysAddr, why string, ok bool)
	// MaxTables bounds how many tables one enumeration visits; 0 means 1<<20, which map 2 TiB in 4
	// KiB pages.
	MaxTables int
}

// MMU walks the page tables of one machine. It is safe for concurrent use.
type MMU struct {
	mem       bridge.Memory
	viewer    bridge.Viewer // nil if mem cannot show memory in place
	resident  func(int, uint64) (bridge.PhysAddr, string, bool)
	maxTables int

	epoch atomic.Pointer[epoch]
}

// epoch holds the page tables read since the caches were last dropped. All of them die together.
type epoch struct {
	mu     sync.Mutex
	tables map[tableKey]*table
}

// tableKey names a table: the same page read as tables of two levels is two tables.
type tableKey struct {
	addr  bridge.PhysAddr
	level int // of its entries: 1 in a page table, 5 in a PML5
}

// table is one page of entries, and the tables that these lead to, as far as they were needed.
type table struct {
	entries [entries]uint64
	next    *[entries]atomic.Pointer[table] // nil in a PT
	tableKey
}

// New returns an MMU over mem. A mem that is a [bridge.Viewer] is not copied from.
func New(mem bridge.Memory, o *Options) *MMU {
	m := &MMU{mem: mem, viewer: bridge.ViewerOf(mem), maxTables: 1 << 20}
	if o != nil {
		m.resident = o.Resident
		if o.MaxTables > 0 {
			m.maxTables = o.MaxTables
		}
	}
	m.Invalidate()
	return m
}

// Invalidate drops every table: the next walk reads memory again.
func (m *MMU) Invalidate() { m.epoch.Store(&epoch{tables: map[tableKey]*table{}}) }

// known returns the table of key if it has been read in this epoch.
func (e *epoch) known(key tableKey) *table {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tables[key]
}

// load reads tables that are not known yet, all in one scatter read. It returns those that it read,
// and those that could not be read, each with the reason; the error is for ctx or the whole memory.
func (m *MMU) load(ctx context.Context, e *epoch, keys []tableKey) (found []*table, failed map[tableKey]error, err error) {
	ops := make([]bridge.Op, len(keys))
	for i, k := range keys {
		ops[i] = bridge.Op{Addr: k.addr, Buf: make([]byte, PageSize), Trusted: true}
	}
	if err := m.mem.ReadPhys(ctx, ops); err != nil {
		return nil, nil, err
	}
	for i, k := range keys {
		if ops[i].Err != nil {
			if failed == nil {
				failed = map[tableKey]error{}
			}
			failed[k] = ops[i].Err
			continue
		}
		found = append(found, newTable(k, ops[i].Buf))
	}
	m.keep(e, found)
	return found, failed, nil
}

func newTable(k tableKey, data []byte) *table {
	t := &table{tableKey: k}
	for i := range t.entries {
		t.entries[i] = binary.LittleEndian.Uint64(data[i*entrySize:])
	}
	if k.level > 1 {
		t.next = new([entries]atomic.Pointer[table])
	}
	return t
}

// keep adds tables to the epoch. Where that makes too many, it forgets the earlier ones and starts
// a new epoch; what a walk under way misses thereby it reads again. It has the tables just read at
// least, however many, and so it comes to an end.
func (m *MMU) keep(e *epoch, ts []*table) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.tables)+len(ts) > keptTables {
		clear(e.tables)
		m.epoch.CompareAndSwap(e, &epoch{tables: map[tableKey]*table{}})
	}
	for _, t := range ts {
		if e.tables[t.tableKey] == nil {
			e.tables[t.tableKey] = t
		}
	}
}

// Root names an address space.
type Root struct {
	// CR3 as the machine held it. Its low 12 bits (PCID, or PWT and PCD), the LAM bits 61 and 62,
	// and bit 63 are ignored (Intel SDM vol. 3A, 2.5 and 4.5.2).
	CR3 uint64
	// Levels is 5 if CR4.LA57 is set, else 4.
	Levels int
	// CBit is the memory encryption bit of AMD's SME as a mask, or 0.
	CBit uint64
	// LowNX says that top-level entries of the lower half carry an NX bit that is not about rights
	// (Linux sets it in the kernel's half of a pair of tables, so that a return to user space with
	// the wrong one faults), and that it does not count.
	LowNX bool
}

// addrMask is where an entry, or CR3, holds a physical address: bits 51..12.
const addrMask = 0x000f_ffff_ffff_f000

// Table returns the physical address of the top-level table.
func (r Root) Table() bridge.PhysAddr { return bridge.PhysAddr(r.CR3 & addrMask &^ r.CBit) }

// Canonical reports whether va is an address at all under r: the bits above those translated equal
// the highest of them.
func (r Root) Canonical(va uint64) bool {
	shift := 64 - r.bits()
	return uint64(int64(va<<shift)>>shift) == va
}

// bits returns how many bits of a virtual address are translated: 48 or 57.
func (r Root) bits() uint { return uint(12 + 9*r.Levels) }

// Space is one address space: what the machine saw while CR3 was the root's. It is safe for
// concurrent use.
type Space struct {
	m      *MMU
	root   Root
	unused uint8 // how many bits at the top of an address are not translated
	top    atomic.Pointer[top]
}

// top is the top-level table as read in one epoch.
type top struct {
	epoch *epoch
	table *table
}

// Space returns the address space under root. Nothing is read.
func (m *MMU) Space(root Root) (*Space, error) {
	if root.Levels != 4 && root.Levels != 5 {
		return nil, fmt.Errorf("%d levels of page tables: x86-64 has 4 or 5", root.Levels)
	}
	return &Space{m: m, root: root, unused: uint8(64 - root.bits())}, nil
}

// Root returns what names the space.
func (s *Space) Root() Root { return s.root }

// TableName returns what the Intel SDM calls a table whose entries are of the given level: PT, PD,
// PDPT, PML4, PML5.
func TableName(level int) string {
	return [...]string{1: "PT", 2: "PD", 3: "PDPT", 4: "PML4", 5: "PML5"}[level]
}

// Fault says which entry of the tables ended a walk.
type Fault struct {
	VA    uint64
	Level int             // of the entry: 1 (PT) to 5 (PML5); 0 when no entry was looked at
	Index int             // of the entry in its table
	Addr  bridge.PhysAddr // of the entry
	Entry uint64          // its value
	Err   error           // why
}

func (f *Fault) Error() string {
	if f.Level == 0 {
		return f.Err.Error()
	}
	return fmt.Sprintf("%s entry %d (at phys %#x) %v", TableName(f.Level), f.Index, uint64(f.Addr), f.Err)
}

func (f *Fault) Unwrap() error { return f.Err }

// Why a walk ended early. They are wrapped in a [Fault].
var (
	ErrNotPresent   = errors.New("not present")
	ErrNonCanonical = errors.New("non-canonical address")
	ErrReserved     = errors.New("has reserved bits set: not a page table, or a damaged one")
	ErrLoop         = errors.New("points back to a table above it: a damaged page table")
	ErrTooMany      = errors.New("too many page tables: these are not page tables, or they are damaged")
)
