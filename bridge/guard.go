package bridge

import (
	"context"
	"fmt"
	"sync/atomic"
)

// legacyHole is where a PC has video memory and ROMs instead of RAM. Page tables do not show this:
// the kernel maps the range as ordinary memory (arch/x86/mm/init.c, init_mem_mapping).
var legacyHole = Range{0xa0000, 0x100000}

// Guard refuses reads of anything but RAM. A read of a device's registers by DMA can hang the
// device or the host, so every read of a bridge passes one Guard, and refused reads are never sent.
//
// Once a RAM map is known, it refuses everything outside. Before that it refuses untrusted
// addresses (see [Op.Trusted]) and the PC's legacy hole. A known map can only get smaller.
type Guard struct {
	mem Memory

	ram atomic.Pointer[RAMMap] // never nil; changed by Narrow alone
}

// NewGuard guards mem. The RAM map is that of mem, narrowed to ram, which may be unknown.
func NewGuard(mem Memory, ram RAMMap) *Guard {
	g := &Guard{mem: mem}
	both := mem.Info().RAM.Intersect(ram)
	g.ram.Store(&both)
	return g
}

// Narrow makes the guard stricter: from now on it also refuses what is not RAM by this map. Reads
// under way are not stopped. It is an error, and changes nothing, if no RAM at all would be left:
// one of the maps is wrong then.
func (g *Guard) Narrow(ram RAMMap) error {
	for {
		old := g.ram.Load()
		both := old.Intersect(ram)
		if ram.Known() && !both.Known() {
			return fmt.Errorf("RAM map %v: no range of it is in the current map, %v", ram, *old)
		}
		if g.ram.CompareAndSwap(old, &both) {
			return nil
		}
	}
}

func (g *Guard) ReadPhys(ctx context.Context, ops []Op) error {
	ram := *g.ram.Load()
	for i := range ops {
		if ram.allowed(&ops[i]) < len(ops[i].Buf) {
			return g.readAllowed(ctx, ram, ops)
		}
	}
	return g.mem.ReadPhys(ctx, ops)
}

// readAllowed reads the allowed start of each piece and marks the rest as refused.
func (g *Guard) readAllowed(ctx context.Context, ram RAMMap, ops []Op) error {
	var pass []Op
	var from []int // pass[k] is the allowed start of ops[from[k]]
	for i := range ops {
		op := &ops[i]
		n := ram.allowed(op)
		op.Err = nil
		if n < len(op.Buf) {
			why := ErrNotRAM
			if !ram.Known() && !legacyHole.overlaps(op.Addr, len(op.Buf)) {
				why = ErrUnknownRAM
			}
			op.Err = &AccessError{op.Addr + PhysAddr(n), len(op.Buf) - n, why}
		}
		if n > 0 {
			pass = append(pass, Op{Addr: op.Addr, Buf: op.Buf[:n], Trusted: op.Trusted})
			from = append(from, i)
		}
	}
	if len(pass) == 0 {
		return ctx.Err()
	}
	if err := g.mem.ReadPhys(ctx, pass); err != nil {
		return err
	}
	for k := range pass {
		if pass[k].Err != nil {
			ops[from[k]].Err = pass[k].Err
		}
	}
	return nil
}

// allowed returns how many bytes at the start of op may be read, if m is what is known of RAM.
func (m RAMMap) allowed(op *Op) int {
	n := uint64(len(op.Buf))
	switch {
	case op.Addr+PhysAddr(n) < op.Addr:
		return 0
	case m.Known():
		return int(m.Prefix(op.Addr, n))
	case !op.Trusted || legacyHole.overlaps(op.Addr, len(op.Buf)):
		return 0
	}
	return len(op.Buf)
}

func (r Range) overlaps(addr PhysAddr, n int) bool { return addr < r.End && r.Start < addr+PhysAddr(n) }

// Viewer returns the guarded memory's ability to show RAM in place, or nil.
func (g *Guard) Viewer() Viewer {
	if inner := ViewerOf(g.mem); inner != nil {
		return guardedView{g, inner}
	}
	return nil
}

// guardedView shows what a guard lets pass. Only memory with a known RAM map is shown in place.
type guardedView struct {
	guard *Guard
	inner Viewer
}

func (v guardedView) View(addr PhysAddr, n int) ([]byte, bool) {
	if !v.guard.ram.Load().Contains(addr, uint64(n)) {
		return nil, false
	}
	return v.inner.View(addr, n)
}

// Info describes the memory with the RAM map in force.
func (g *Guard) Info() Info {
	info := g.mem.Info()
	info.RAM = *g.ram.Load()
	return info
}

// Close closes the guarded memory.
func (g *Guard) Close() error { return g.mem.Close() }
