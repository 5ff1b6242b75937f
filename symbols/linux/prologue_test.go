package linux

import (
	"testing"

	"physgdb/symbols"
)

// A kernel with ORC tables, or whose functions have no frames, keeps no frame pointers.
func TestFramePointers(t *testing.T) {
	const inner, middle, outer = textPage + 0x100, textPage + 0x200, textPage + 0x300
	for name, tc := range map[string]struct {
		change func(w *world)
		want   bool
	}{
		"as it is": {func(*world) {}, true},
		"ORC": {func(w *world) {
			w.Kernel.Symbols = symbols.NewTable([]symbols.Symbol{{Name: "__start_orc_unwind"}}, nil)
		}, false},
		"no frames":             {func(w *world) { w.PutCode(inner, 0x90); w.PutCode(middle, 0x90) }, false},
		"one without a frame":   {func(w *world) { w.PutCode(inner, 0x90) }, true},
		"none of the functions": {func(w *world) { w.Kernel.Symbols = symbols.NewTable(nil, nil) }, false},
	} {
		w := newWorld(t, nil, map[string]uint64{"schedule": inner, "vfs_write": middle, "ksys_write": outer})
		w.PutCode(inner, 0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x1f, 0x44, 0x00, 0x00, 0x55, 0x48, 0x89, 0xe5)
		w.PutCode(middle, 0x0f, 0x1f, 0x44, 0x00, 0x00, 0x55, 0x48, 0x89, 0xd0, 0x48, 0x89, 0xe5)
		w.PutCode(outer, 0x55, 0x48, 0x89, 0xe5)
		tc.change(w)
		if got, err := w.FramePointers(ctx); got != tc.want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
