package linux

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// slot returns the address of a slot of a node.
func slot(node uint64, i int) uint64 { return node + 8 + 8*uint64(i) }

func TestXArray(t *testing.T) {
	const root, left, right = 0, 1, 2 // nodes
	tree := func(w *world) (head uint64, nodes []uint64) {
		for range 3 {
			nodes = append(nodes, w.alloc("xa_node", 0))
		}
		w.put(nodes[root], 6)
		w.put(slot(nodes[root], 0), nodes[left]|xaInternal)
		w.put(slot(nodes[root], 3), nodes[right]|xaInternal)
		w.put(slot(nodes[left], 1), base+0x100)
		w.put(slot(nodes[left], 2), 0x123<<1|xaValue) // a number
		w.put(slot(nodes[left], 5), 1<<2|xaInternal)  // a sibling
		w.put(slot(nodes[right], 63), base+0x200)
		return nodes[root] | xaInternal, nodes
	}
	both := []xaEntry{{1, base + 0x100}, {3*64 + 63, base + 0x200}}
	for _, tc := range []struct {
		name    string
		harm    func(w *world, nodes []uint64)
		want    []xaEntry
		damaged bool
	}{
		{"whole", func(*world, []uint64) {}, both, false},
		{"a node that leads back to the first", func(w *world, n []uint64) { w.put(slot(n[right], 0), n[root]|xaInternal) }, both, false},
		{"a node at two places", func(w *world, n []uint64) { w.put(slot(n[root], 3), n[left]|xaInternal) }, both[:1], true},
		{"a wild pointer", func(w *world, n []uint64) { w.put(slot(n[root], 3), 0xdead000000000002) }, both[:1], true},
		{"a node of a wrong level", func(w *world, n []uint64) { w.put(n[right], 12) }, both[:1], true},
		{"a first node of no level", func(w *world, n []uint64) { w.put(n[root], 200) }, nil, true},
		{"a deep tree that leads nowhere", func(w *world, n []uint64) { w.put(n[root], 60) }, nil, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil, nil)
			w.types.define("xa_node", "shift", 1, "slots", 512)
			head, nodes := tree(w)
			tc.harm(w, nodes)
			x, err := newXArray(w.types)
			if err != nil {
				t.Fatal(err)
			}
			var d damage
			got, err := x.entries(ctx, w.Kernel, head, maxTasks, &d)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(xaEntry{})); diff != "" || (len(d.list()) > 0) != tc.damaged {
				t.Errorf("damage %v; (-want +got):\n%s", d.list(), diff)
			}
		})
	}
}

func TestXArrayOfOneOrNone(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.types.define("xa_node", "shift", 1, "slots", 512)
	x, err := newXArray(w.types)
	if err != nil {
		t.Fatal(err)
	}
	for head, want := range map[uint64][]xaEntry{0: nil, base + 0x40: {{0, base + 0x40}}} {
		var d damage
		got, err := x.entries(ctx, w.Kernel, head, maxTasks, &d)
		if !slices.Equal(got, want) || len(d.list()) > 0 || err != nil {
			t.Errorf("head %#x: %v, %v, %v", head, got, d.list(), err)
		}
	}
}

func TestXArrayCostsABatchALevel(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.types.define("xa_node", "shift", 1, "slots", 512)
	root := w.alloc("xa_node", 0)
	w.put(root, 6)
	for i := range 64 {
		leaf := w.alloc("xa_node", 0)
		w.put(slot(root, i), leaf|xaInternal)
		w.put(slot(leaf, 0), base+0x100)
	}
	x, err := newXArray(w.types)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.readUint(ctx, root, 8); err != nil { // page tables are known from now on
		t.Fatal(err)
	}
	before := w.fake.Counts().Batches
	got, err := x.entries(ctx, w.Kernel, root|xaInternal, maxTasks, &damage{})
	if batches := w.fake.Counts().Batches - before; len(got) != 64 || err != nil || batches != 2 {
		t.Errorf("%d entries in %d batches, %v; want 64 in 2", len(got), batches, err)
	}
}
