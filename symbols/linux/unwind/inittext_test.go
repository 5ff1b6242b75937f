package unwind

import "testing"

// TestAfterCallInInitText checks that a return address counts although the code around it has been
// freed, if it was init code.
func TestAfterCallInInitText(t *testing.T) {
	const text, freed = 0xffffffff81000000, 0x1000 // nothing of it is mapped
	w := newWorld(t, nil, map[string]uint64{"_sinittext": text + freed, "_einittext": text + 2*freed})
	w.Kernel.Text = text
	for addr, want := range map[uint64]bool{text + freed/2: false, text + freed + 16: true, text + 2*freed: false} {
		if got, err := w.afterCall(ctx, addr); got != want || err != nil {
			t.Errorf("%#x: %v, %v; want %v", addr, got, err, want)
		}
	}
}
