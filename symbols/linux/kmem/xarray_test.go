package kmem

import (
	"slices"
	"testing"

	"physgdb/test/kmemtest"

	"github.com/google/go-cmp/cmp"
)

// slot returns the address of a slot of a node.
func slot(node uint64, i int) uint64 { return node + 8 + 8*uint64(i) }

func TestXArray(t *testing.T) {
	const root, left, right = 0, 1, 2 // nodes
	tree := func(w *kmemtest.World) (head uint64, nodes []uint64) {
		for range 3 {
			nodes = append(nodes, w.Alloc("xa_node", 0))
		}
		w.Put(nodes[root], 6)
		w.Put(slot(nodes[root], 0), nodes[left]|xaInternal)
		w.Put(slot(nodes[root], 3), nodes[right]|xaInternal)
		w.Put(slot(nodes[left], 1), base+0x100)
		w.Put(slot(nodes[left], 2), 0x123<<1|xaValue) // a number
		w.Put(slot(nodes[left], 5), 1<<2|xaInternal)  // a sibling
		w.Put(slot(nodes[right], 63), base+0x200)
		return nodes[root] | xaInternal, nodes
	}
	both := []Entry{{1, base + 0x100}, {3*64 + 63, base + 0x200}}
	for _, tc := range []struct {
		name    string
		harm    func(w *kmemtest.World, nodes []uint64)
		want    []Entry
		damaged bool
	}{
		{"whole", func(*kmemtest.World, []uint64) {}, both, false},
		{"a node that leads back to the first", func(w *kmemtest.World, n []uint64) { w.Put(slot(n[right], 0), n[root]|xaInternal) }, both, false},
		{"a node at two places", func(w *kmemtest.World, n []uint64) { w.Put(slot(n[root], 3), n[left]|xaInternal) }, both[:1], true},
		{"a wild pointer", func(w *kmemtest.World, n []uint64) { w.Put(slot(n[root], 3), 0xdead000000000002) }, both[:1], true},
		{"a node of a wrong level", func(w *kmemtest.World, n []uint64) { w.Put(n[right], 12) }, both[:1], true},
		{"a first node of no level", func(w *kmemtest.World, n []uint64) { w.Put(n[root], 200) }, nil, true},
		{"a deep tree that has no entries", func(w *kmemtest.World, n []uint64) { w.Put(n[root], 60) }, nil, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := kmemtest.New(t)
			w.Structs.Define("xa_node", "shift", 1, "slots", 512)
			head, nodes := tree(w)
			tc.harm(w, nodes)
			x, err := NewXArray(w.Structs)
			if err != nil {
				t.Fatal(err)
			}
			var d Damage
			got, err := x.Entries(ctx, w.Virtual, head, 1000, &d)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || (len(d.List()) > 0) != tc.damaged {
				t.Errorf("damage %v; (-want +got):\n%s", d.List(), diff)
			}
		})
	}
}

func TestXArrayOfOneOrNone(t *testing.T) {
	w := kmemtest.New(t)
	w.Structs.Define("xa_node", "shift", 1, "slots", 512)
	x, err := NewXArray(w.Structs)
	if err != nil {
		t.Fatal(err)
	}
	for head, want := range map[uint64][]Entry{0: nil, base + 0x40: {{0, base + 0x40}}} {
		var d Damage
		got, err := x.Entries(ctx, w.Virtual, head, 1000, &d)
		if !slices.Equal(got, want) || len(d.List()) > 0 || err != nil {
			t.Errorf("head %#x: %v, %v, %v", head, got, d.List(), err)
		}
	}
}

func TestXArrayCostsABatchALevel(t *testing.T) {
	w := kmemtest.New(t)
	w.Structs.Define("xa_node", "shift", 1, "slots", 512)
	root := w.Alloc("xa_node", 0)
	w.Put(root, 6)
	for i := range 64 {
		leaf := w.Alloc("xa_node", 0)
		w.Put(slot(root, i), leaf|xaInternal)
		w.Put(slot(leaf, 0), base+0x100)
	}
	x, err := NewXArray(w.Structs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadUint(ctx, w.Virtual, root, 8); err != nil { // page tables are known from now on
		t.Fatal(err)
	}
	before := w.Fake.Counts().Batches
	got, err := x.Entries(ctx, w.Virtual, root|xaInternal, 1000, &Damage{})
	if batches := w.Fake.Counts().Batches - before; len(got) != 64 || err != nil || batches != 2 {
		t.Errorf("%d entries in %d batches, %v; want 64 in 2", len(got), batches, err)
	}
}
