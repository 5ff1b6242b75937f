package linux

import (
	"context"
	"errors"
	"fmt"

	"physgdb/symbols"
)

// xarray reads XArrays (include/linux/xarray.h), the kernel's trees of pointers by number, which also make its IDRs and
// its page caches.
type xarray struct {
	node  *layout
	Shift member `c:"shift"`
	Slots member `c:"slots" max:"512"` // XA_CHUNK_SIZE pointers, include/linux/xarray.h
}

// How an XArray marks its entries (include/linux/xarray.h).
const (
	xaMark     = 3    // these low bits tell what an entry is
	xaInternal = 2    // a node, or something else of the tree's own
	xaValue    = 1    // a number instead of a pointer; in bit 0
	xaLeast    = 4096 // internal entries up to this are no nodes
)

// xaEntry is a pointer in an XArray and the number that it stands for.
type xaEntry struct {
	index, value uint64
}

// xaNode is a node that is still to be read.
type xaNode struct {
	addr, first uint64 // first is the lowest index in it
	shift       uint64 // that the node must have; xaRoot for the first
}

// xaRoot stands for the shift of the first node, which only the node itself tells.
const xaRoot = ^uint64(0)

// entries returns the pointers of an array, by its xa_head, level by level. Nodes that cannot be read, or cannot be true, are
// left out and added to d. Of an array of more than most pointers, or nodes, the first are returned.
func (x *xarray) entries(ctx context.Context, k *Kernel, head uint64, most int, d *damage) (found []xaEntry, err error) {
	level := []xaNode{}
	switch {
	case head == 0:
	case isXANode(head):
		level = append(level, xaNode{addr: head &^ xaMark, shift: xaRoot})
	default:
		found = append(found, xaEntry{0, head})
	}
	seen := map[uint64]bool{}
	for len(level) > 0 {
		addrs := make([]uint64, len(level))
		for i, n := range level {
			addrs[i] = n.addr
		}
		var next []xaNode
		err := x.node.readEach(ctx, k.Space, addrs, func(i int, r record) error {
			n := level[i]
			if why := x.check(n, r, seen); why != nil {
				d.add("%w", why)
				return nil
			}
			seen[n.addr] = true
			found, next = x.open(n, r, found, next)
			if len(found) > most || len(seen)+len(next) > most {
				return errTooLong
			}
			return nil
		})
		switch {
		case errors.Is(err, errTooLong):
			d.add("an XArray of more than %d entries, of which the first are taken: damaged, or too many", most)
			return found[:min(len(found), most)], nil
		case err != nil:
			return found, err
		}
		level = next
	}
	return found, nil
}

// errTooLong ends the reading of what has more parts than are looked at.
var errTooLong = errors.New("too many")

// check says why a node cannot be a true one.
func (x *xarray) check(n xaNode, r record, seen map[uint64]bool) error {
	const bitsOfIndex = 64
	shift := x.Shift.uint(r)
	switch {
	case r.err != nil:
		return r.err
	case seen[n.addr]:
		return fmt.Errorf("struct xa_node at %#x: is reached twice", n.addr)
	case n.shift != xaRoot && shift != n.shift || shift >= bitsOfIndex:
		return fmt.Errorf("struct xa_node at %#x: has shift %d, its place in the tree is another", n.addr, shift)
	}
	return nil
}

// open takes the entries out of a node.
func (x *xarray) open(n xaNode, r record, found []xaEntry, next []xaNode) ([]xaEntry, []xaNode) {
	shift, slots := x.Shift.uint(r), x.Slots.count()
	step := uint64(0) // how far apart the shifts of two levels are
	for 1<<step < slots {
		step++
	}
	for i := range slots {
		e := x.Slots.element(r, int(i))
		first := n.first + i<<shift
		switch {
		case e == 0 || e&xaValue != 0:
		case isXANode(e) && shift >= step:
			next = append(next, xaNode{e &^ xaMark, first, shift - step})
		case e&xaMark == 0:
			found = append(found, xaEntry{first, e})
		}
	}
	return found, next
}

func isXANode(e uint64) bool { return e&xaMark == xaInternal && e > xaLeast }

func newXArray(types symbols.Types) (*xarray, error) {
	x := &xarray{}
	var err error
	x.node, err = newLayout(types, "xa_node", x)
	return x, err
}
