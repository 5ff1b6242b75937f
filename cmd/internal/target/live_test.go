package host

import (
	"errors"
	"testing"
)

// TestANewLookKeepsWhatTheClientHasTold: only what was read of the machine is dropped.
func TestANewLookKeepsWhatTheClientHasTold(t *testing.T) {
	m := newRig(t, 4).attach(t, Options{Live: true})
	target, err := m.NewSession(ctx)
	must(t, err)
	s := target.(*liveSession)
	must(t, s.BorrowSymbols(ctx, nil)) // the main file is no kernel
	if s.distrust == nil {
		t.Fatal("a program is taken for the kernel")
	}
	s.SetPhysicalMode(true)
	s.files = map[string]fileOpener{"/lib/a.ko": nil}
	before := s.m
	must(t, s.Refresh(ctx))
	_, err = s.Threads(ctx)
	must(t, err)
	if s.m == before || s.threads[s.first] == nil {
		t.Error("it is not a new look")
	}
	if _, err := s.ReadMemory(ctx, s.first, s.m.Kernel.Text, make([]byte, 4)); !errors.Is(err, s.distrust) || err == nil {
		t.Errorf("memory is shown to who has the wrong file: %v", err)
	}
	if !s.PhysicalMode() || len(s.files) != 1 {
		t.Errorf("physical %v, files %v", s.PhysicalMode(), s.files)
	}
}
