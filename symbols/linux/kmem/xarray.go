package kmem

import (
	"context"
	"errors"
	"fmt"

	"physgdb/mmu"
	"physgdb/symbols"
)

// XArray reads XArrays (include/linux/xarray.h), the kernel's trees of pointers by index, which
// IDRs and page caches are made of, too.
type XArray struct{ node *Struct[xaNode] }

// xaNode is struct xa_node.
type xaNode struct {
	Shift uint64   `c:"shift"`
	Slots []uint64 `c:"slots" max:"512"` // XA_CHUNK_SIZE pointers
}

// How an XArray marks its entries (include/linux/xarray.h).
const (
	xaMark         = 3    // mask of the bits that distinguish entries
	xaInternal     = 2    // a node, or another internal entry
	xaValue        = 1    // bit 0: a number instead of a pointer
	xaMaxNonNode   = 4096 // internal entries up to this are not nodes
	xaBitsPerIndex = 64
)

// Entry is a pointer in an XArray and its index.
type Entry struct{ Index, Value uint64 }

// xaBranch is a node that is not read yet.
type xaBranch struct {
	addr, first uint64 // first is the lowest index in it
	shift       uint64 // that the node must have; anyShift for the first
}

// anyShift is used for the shift of the first node, which only that node has.
const anyShift = ^uint64(0)

// errTooLong ends the reading of an array with more parts than are read.
var errTooLong = errors.New("too many")

// NewXArray looks up the layout of XArrays.
func NewXArray(types symbols.Types) (*XArray, error) {
	node, err := NewStruct[xaNode](types, "xa_node")
	return &XArray{node}, err
}

// Entries returns the pointers of an array, given its xa_head, with one batch of reads for each
// level. Nodes that cannot be read or are not plausible are left out and added to d. Of an array of
// more than maxEntries pointers, or nodes, the first are returned.
func (x *XArray) Entries(ctx context.Context, sp *mmu.Space, head uint64, maxEntries int, d *Damage) ([]Entry, error) {
	var found []Entry
	var level []xaBranch
	switch {
	case head == 0:
	case isXANode(head):
		level = append(level, xaBranch{addr: head &^ xaMark, shift: anyShift})
	default:
		found = append(found, Entry{0, head})
	}
	seen := map[uint64]bool{}
	for len(level) > 0 {
		addrs := make([]uint64, len(level))
		for i, b := range level {
			addrs[i] = b.addr
		}
		var next []xaBranch
		err := x.node.ReadEach(ctx, sp, addrs, func(i int, n *xaNode, err error) error {
			b := level[i]
			if err == nil {
				err = b.check(n, seen)
			}
			if err != nil {
				d.Add("%w", err)
				return nil
			}
			seen[b.addr] = true
			found, next = b.open(n, found, next)
			if len(found) > maxEntries || len(seen)+len(next) > maxEntries {
				return errTooLong
			}
			return nil
		})
		switch {
		case errors.Is(err, errTooLong):
			d.Add("an XArray of more than %d entries, of which the first are used: damaged, or too many", maxEntries)
			return found[:min(len(found), maxEntries)], nil
		case err != nil:
			return found, err
		}
		level = next
	}
	return found, nil
}

// check returns why a node is not plausible at its place in the tree.
func (b *xaBranch) check(n *xaNode, seen map[uint64]bool) error {
	switch {
	case seen[b.addr]:
		return fmt.Errorf("struct xa_node at %#x: is reached twice", b.addr)
	case b.shift != anyShift && n.Shift != b.shift || n.Shift >= xaBitsPerIndex:
		return fmt.Errorf("struct xa_node at %#x: has shift %d, which does not fit its place in the tree", b.addr, n.Shift)
	}
	return nil
}

// open appends the pointers of a node to found, and its child nodes to next.
func (b *xaBranch) open(n *xaNode, found []Entry, next []xaBranch) ([]Entry, []xaBranch) {
	step := uint64(0) // difference between the shifts of two levels
	for 1<<step < len(n.Slots) {
		step++
	}
	for i, e := range n.Slots {
		first := b.first + uint64(i)<<n.Shift
		switch {
		case e == 0 || e&xaValue != 0:
		case isXANode(e) && n.Shift >= step:
			next = append(next, xaBranch{e &^ xaMark, first, n.Shift - step})
		case e&xaMark == 0:
			found = append(found, Entry{first, e})
		}
	}
	return found, next
}

func isXANode(e uint64) bool { return e&xaMark == xaInternal && e > xaMaxNonNode }
