package linux

import (
	"context"
	"errors"
	"testing"
	"time"

	"physgdb/bridge"
)

func TestWhatWasNotAnsweredIsAskedAgain(t *testing.T) {
	var l lazy[*Modules]
	reads := 0
	get := func(missing bool, err error) (int, error) {
		ms, err := l.get(ctx, func(context.Context) (*Modules, error) {
			reads++
			return &Modules{All: make([]*Module, reads), answers: answers{missing}}, err
		})
		if ms == nil {
			return 0, err
		}
		return len(ms.All), err
	}
	awhile := func() { l.again = l.again.Add(-2 * askAgain) }
	broken := errors.New("broken")
	for _, step := range []struct {
		name    string
		before  func()
		missing bool
		fails   error
		want    int // which read the value is of
		reads   int
	}{
		{"it fails", func() {}, false, broken, 1, 1},
		{"a part is missing", func() {}, true, nil, 2, 2},
		{"that holds for a moment", func() {}, false, nil, 2, 2},
		{"a part is missing again", awhile, true, nil, 3, 3},
		{"it fails, and there is something", awhile, false, broken, 3, 4},
		{"that holds as well", func() {}, false, nil, 3, 4},
		{"all is there", awhile, false, nil, 5, 5},
		{"that lasts", func() {}, true, nil, 5, 5},
	} {
		step.before()
		got, err := get(step.missing, step.fails)
		if got != step.want || reads != step.reads || (err != nil) != (step.name == "it fails") {
			t.Errorf("%s: that of read %d, %v, after %d reads; want %d after %d", step.name, got, err, reads, step.want, step.reads)
		}
	}
	if !l.again.IsZero() {
		t.Error("what is whole is to be read again at", l.again.Format(time.TimeOnly))
	}
}

func TestListsTellWhatWasNotAnswered(t *testing.T) {
	for _, why := range []error{bridge.ErrTimeout, bridge.ErrNotRAM} {
		w := newModuleWorld(t, false)
		w.load("a")
		w.load("b")
		w.fake.Fail(bridge.PhysAddr(w.node("a")-base), 8, why)
		ms, err := w.Modules(ctx)
		if err != nil || len(ms.Damage) == 0 {
			t.Fatalf("%v: %+v, %v", why, ms, err)
		}
		if silent := why == bridge.ErrTimeout; ms.unanswered() != silent || w.Kernel.modules.again.IsZero() == silent {
			t.Errorf("%v: to be asked again: %v", why, ms.unanswered())
		}
	}
}
