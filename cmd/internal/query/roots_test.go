package query

import (
	"slices"
	"testing"

	"physgdb/cmd/internal/machine"
	"physgdb/test/rig"
)

// TestRootsWithoutTasks because the words for other roots must go on working.
func TestRootsWithoutTasks(t *testing.T) {
	r := rig.New(t, 4)
	m := attach(t, r, machine.Options{Vmlinux: r.Path("vmlinux"), Notify: r.Notices(t, rig.Hello, rig.Panicked)})
	roots, err := Roots(ctx, m, nil)
	rig.WantError(t, err, "the processes are not known: ")
	if !slices.Contains(roots, Root{Name: "clock", CR3: Address(r.Clock)}) {
		t.Errorf("%+v has no clock", roots)
	}
	for _, word := range []string{"clock", rig.Hex(r.Clock)} {
		root, err := RootNamed(ctx, m, word)
		rig.Must(t, err)
		if uint64(root.CR3) != r.Clock {
			t.Errorf("%s: %v", word, root.CR3)
		}
	}
}
