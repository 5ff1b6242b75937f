package target

import (
	"errors"
	"testing"

	"physgdb/cmd/internal/machine"
	"physgdb/test/rig"
)

// TestRefreshKeepsSettings: only what was read of the machine is dropped.
func TestRefreshKeepsSettings(t *testing.T) {
	m := attach(t, rig.New(t, 4), machine.Options{Live: true})
	target, err := New(m, ThreadsTasks).NewSession(ctx)
	rig.Must(t, err)
	s := target.(*liveSession)
	rig.Must(t, s.BorrowSymbols(ctx, nil)) // the main file is no kernel
	if s.memoryBlocked == nil {
		t.Fatal("a program is taken for the kernel")
	}
	s.SetPhysicalMode(true)
	s.files = map[string]fileOpener{"/lib/a.ko": nil}
	before := s.m
	rig.Must(t, s.Refresh(ctx))
	_, err = s.Threads(ctx)
	rig.Must(t, err)
	if s.m == before || s.listed[s.first] == nil {
		t.Error("it is not a new look")
	}
	if _, err := s.ReadMemory(ctx, s.first, s.m.Kernel.Text, make([]byte, 4)); !errors.Is(err, s.memoryBlocked) || err == nil {
		t.Errorf("memory is shown although the file is wrong: %v", err)
	}
	if !s.PhysicalMode() || len(s.files) != 1 {
		t.Errorf("physical %v, files %v", s.PhysicalMode(), s.files)
	}
}
