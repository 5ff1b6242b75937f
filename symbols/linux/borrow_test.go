package linux

import (
	"testing"

	"physgdb/mmu"
)

func TestWithSymbols(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.Slide = 0x10200000
	k, err := w.WithSymbols(ctx, map[string]uint64{"init_task": 0xffffffff9200a000, "runqueues": 0x31980 + 0x10200000})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint64{"init_task": 0xffffffff9200a000, "runqueues": 0x31980} {
		if got, ok := k.Addr(name); !ok || got != want {
			t.Errorf("%s is at %#x, %v; want %#x", name, got, ok, want)
		}
	}
	if got := k.Name(0xffffffff9200a008); got != "" {
		t.Errorf("the address after init_task has the name %q", got)
	}
	again, err := k.Again(ctx, mmu.New(w.Fake, nil))
	if err != nil || again.SizesKnown() || k.SizesKnown() || !w.SizesKnown() {
		t.Errorf("sizes of borrowed symbols are known, or others are not (%v)", err)
	}
	if _, ok := w.Kernel.Addr("init_task"); ok {
		t.Error("the kernel that it was made of has the symbols, too")
	}
}
