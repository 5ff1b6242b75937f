package linux

import (
	"errors"
	"testing"

	"physgdb/mmu"
)

func TestTaintThatCannotBeReadIsNotKnown(t *testing.T) {
	const at = base + 0x180000
	w := newWorld(t, nil, map[string]uint64{"tainted_mask": at})
	w.put(at, 1<<7|1<<12)
	if taint, err := w.Taint(ctx); err != nil || taint.String() != "DO" {
		t.Errorf("%v, %v", taint, err)
	}
	w.put(at, 0)
	if taint, err := w.Taint(ctx); err != nil || taint.String() != "not tainted" {
		t.Errorf("%v, %v", taint, err)
	}
	w = newWorld(t, nil, map[string]uint64{"tainted_mask": 0xffffc90000000000})
	if taint, err := w.Taint(ctx); !errors.Is(err, mmu.ErrNotPresent) {
		t.Errorf("%v, %v", taint, err)
	}
}
