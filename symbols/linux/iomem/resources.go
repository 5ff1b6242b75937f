// Package iomem reads what a kernel has found at which physical addresses, as in /proc/iomem.
package iomem

import (
	"context"
	"fmt"
	"strings"

	"physgdb/bridge"
	"physgdb/mmu"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/kmem"
)

// Resource is a range of physical addresses and its use: a line of /proc/iomem.
type Resource struct {
	Start, Last bridge.PhysAddr
	Depth       int // 0 for a resource that is not within another
	Name        string
}

// Limits of a kernel's list of resources. Large servers have some 2000, nested six deep.
const (
	maxResources = 1 << 16
	maxNested    = 32
)

// resourceStruct is struct resource (include/linux/ioport.h). Siblings are sorted by address and
// lie within their parent (__request_resource, kernel/resource.c).
type resourceStruct struct {
	Start   uint64 `c:"start"`
	End     uint64 `c:"end"` // the last address
	Name    uint64 `c:"name"`
	Sibling uint64 `c:"sibling"`
	Child   uint64 `c:"child"`
}

// resource is a node of the tree of resources.
type resource struct {
	Resource
	name     uint64 // virtual address
	children []*resource
}

// Resources returns the kernel's list of physical address ranges, in the order of /proc/iomem. If
// the list is damaged, the rest of it is returned together with the error.
func Resources(ctx context.Context, k *linux.Kernel) ([]Resource, error) {
	addr, ok := k.Addr("iomem_resource")
	if !ok {
		return nil, k.NoSymbol("iomem_resource")
	}
	layout, err := linux.StructOf[resourceStruct](ctx, k, "resource")
	if err != nil {
		return nil, err
	}
	w := &resourceWalk{k: k, layout: layout, seen: map[uint64]bool{addr: true}}
	root, err := w.walk(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("the kernel's resources: %w", err)
	}
	if err := w.readNames(ctx); err != nil {
		return nil, fmt.Errorf("the kernel's resources: %w", err)
	}
	list := root.list(nil)
	if w.damage != nil {
		return list, fmt.Errorf("the kernel's resources: %w", w.damage)
	}
	return list, nil
}

// list appends the descendants of r, parents first.
func (r *resource) list(to []Resource) []Resource {
	for _, c := range r.children {
		to = c.list(append(to, c.Resource))
	}
	return to
}

// resourceWalk is a breadth-first walk through the tree of resources.
type resourceWalk struct {
	k      *linux.Kernel
	layout *kmem.Struct[resourceStruct]
	seen   map[uint64]bool
	found  []*resource
	damage error // the first
}

// branch is a pointer that has not been followed yet.
type branch struct {
	addr   uint64
	parent *resource
}

// walk reads all descendants of the root. The error is for the memory as a whole, ctx, or the root.
func (w *resourceWalk) walk(ctx context.Context, addr uint64) (*resource, error) {
	top, err := w.layout.ReadOne(ctx, w.k.Space, addr)
	if err != nil {
		return nil, err
	}
	root := &resource{Resource: Resource{Last: ^bridge.PhysAddr(0), Depth: -1}}
	open := w.follow(nil, top.Child, root)
	for len(open) > 0 {
		addrs := make([]uint64, len(open))
		for i := range open {
			addrs[i] = open[i].addr
		}
		structs, errs, err := w.layout.Read(ctx, w.k.Space, addrs)
		if err != nil {
			return nil, err
		}
		var next []branch
		for i := range open {
			if errs[i] != nil {
				w.damaged(errs[i])
				continue
			}
			next = w.take(next, open[i], &structs[i])
		}
		open = next
	}
	return root, nil
}

// take adds the struct at a branch to its parent, and appends the branches that it points to.
func (w *resourceWalk) take(next []branch, b branch, s *resourceStruct) []branch {
	r := &resource{
		Resource: Resource{
			Start: bridge.PhysAddr(s.Start), Last: bridge.PhysAddr(s.End), Depth: b.parent.Depth + 1,
		},
		name: s.Name,
	}
	if !b.parent.mayHave(r) {
		w.damaged(fmt.Errorf("struct resource at %#x: %#x-%#x is out of place", b.addr, uint64(r.Start), uint64(r.Last)))
		return next
	}
	b.parent.children = append(b.parent.children, r)
	w.found = append(w.found, r)
	next = w.follow(next, s.Sibling, b.parent)
	return w.follow(next, s.Child, r)
}

// mayHave reports whether c can be the next child of r.
func (r *resource) mayHave(c *resource) bool {
	if n := len(r.children); n > 0 && c.Start <= r.children[n-1].Last {
		return false
	}
	return r.Start <= c.Start && c.Start <= c.Last && c.Last <= r.Last && c.Depth < maxNested
}

// follow appends a branch for a pointer, unless it is nil or must not be followed.
func (w *resourceWalk) follow(to []branch, addr uint64, parent *resource) []branch {
	switch {
	case addr == 0:
		return to
	case w.seen[addr]:
		w.damaged(fmt.Errorf("struct resource at %#x: is in the tree twice", addr))
		return to
	case len(w.seen) > maxResources:
		w.damaged(fmt.Errorf("more than %d of them", maxResources))
		return to
	}
	w.seen[addr] = true
	return append(to, branch{addr, parent})
}

func (w *resourceWalk) damaged(err error) {
	if w.damage == nil {
		w.damage = err
	}
}

// readNames reads the names of all resources, each once.
func (w *resourceWalk) readNames(ctx context.Context) error {
	const maxName = 64 // bytes
	var ops []mmu.Op
	at := map[uint64]int{} // index in ops
	for _, r := range w.found {
		if _, ok := at[r.name]; !ok {
			at[r.name] = len(ops)
			ops = append(ops, mmu.Op{VA: r.name, Buf: make([]byte, maxName)})
		}
	}
	if err := w.k.Space.ReadAll(ctx, ops); err != nil {
		return err
	}
	for _, r := range w.found {
		op := &ops[at[r.name]]
		if op.N == 0 {
			w.damaged(fmt.Errorf("the name of %#x-%#x: %w", uint64(r.Start), uint64(r.Last), op.Err))
		}
		r.Name = kmem.CString(op.Buf[:op.N])
	}
	return nil
}

// RAMMap returns the RAM map from the kernel's list of resources. The list must be undamaged, and
// the kernel itself must be in RAM.
func RAMMap(ctx context.Context, k *linux.Kernel) (bridge.RAMMap, error) {
	list, err := Resources(ctx, k)
	if err != nil {
		return nil, err
	}
	var ranges []bridge.Range
	for _, r := range list {
		// Hot-plugged memory is deeper in the tree, as "System RAM (kmem)" within the resource of
		// its device.
		if strings.HasPrefix(r.Name, "System RAM") {
			ranges = append(ranges, bridge.Range{Start: r.Start, End: r.Last + 1})
		}
	}
	ram := bridge.NewRAMMap(ranges)
	if !ram.Contains(k.TextPhys, k.DataOff) || !ram.Contains(k.Root.Table(), bridge.PageSize) {
		return nil, fmt.Errorf("the kernel's resources: %d of them are RAM, %s, and the kernel itself is not in it",
			len(ranges), ram)
	}
	return ram, nil
}
