package linux

import (
	"testing"

	"physgdb/mmu"
)

// TestAgain reads a kernel that runs on: it forgets what it was, but not where it is.
func TestAgain(t *testing.T) {
	w := newTaskWorld(t, nil)
	w.add(5, 5)
	if l, err := w.Tasks(ctx); err != nil || listing(l) != "5/5 task5, 0/0 task0, 0/0 task0" {
		t.Fatal(l, err)
	}
	w.add(7, 7)
	again, err := w.Again(ctx, mmu.New(w.Fake, nil))
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[*Kernel]string{
		w.Kernel: "5/5 task5, 0/0 task0, 0/0 task0", again: "5/5 task5, 7/7 task7, 0/0 task0, 0/0 task0",
	} {
		if l, err := k.Tasks(ctx); err != nil || listing(l) != want {
			t.Errorf("%v, %v; want %s", l, err, want)
		}
	}
	if again.Text != w.Text || again.Slide != w.Slide {
		t.Errorf("the kernel is at %#x with a slide of %#x", again.Text, again.Slide)
	}
}
