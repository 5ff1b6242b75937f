package target

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/bridge"
	"physgdb/cmd/internal/machine"
	"physgdb/gdbstub"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/userspace"
	"physgdb/test/memimage"
	"physgdb/test/rig"
)

func TestPhysicalModeIsOfOneConnection(t *testing.T) {
	r := rig.New(t, 4)
	m := attach(t, r, machine.Options{})
	s, other := connect(t, m), connect(t, m)
	s.SetPhysicalMode(true)
	if !s.PhysicalMode() || other.PhysicalMode() || connect(t, m).PhysicalMode() {
		t.Error("the mode is not that of the connection alone")
	}
	p := make([]byte, len(memimage.Banner))
	if _, err := s.ReadMemory(ctx, s.first, uint64(r.TextPhys+8<<21), p); err != nil || string(p) != memimage.Banner {
		t.Errorf("physical memory reads %q, %v", p, err)
	}
	if got := other.user(t); got != "pani" {
		t.Errorf("another connection reads %q", got)
	}
	s.SetPhysicalMode(false)
	if got := s.user(t); got != "pani" {
		t.Errorf("virtual memory reads %q again", got)
	}
}

func TestPhysicalModeFindsPhysicalAddresses(t *testing.T) {
	r := rig.New(t, 4)
	s := connect(t, attach(t, r, machine.Options{}))
	p := newProgram(ctx, s.m, false, &linux.Task{}, userspace.AMD64, s.m.Space)
	inRAM, mapped := uint64(r.TextPhys+8<<21), r.Text()+8<<21
	for _, target := range []interface {
		gdbstub.MemorySearcher
		gdbstub.PhysicalSwitcher
	}{s, p} {
		for physical, want := range map[bool]uint64{true: inRAM, false: mapped} {
			target.SetPhysicalMode(physical)
			at, found, err := target.SearchMemory(ctx, s.first, want-0x1000, 0x10000, []byte(memimage.Banner))
			if at != want || !found || err != nil {
				t.Errorf("%T, physical %v: %#x, %v, %v; want %#x", target, physical, at, found, err, want)
			}
		}
	}
}

func TestPhysicalModeReadsNothingButRAM(t *testing.T) {
	r := rig.New(t, 4)
	s := connect(t, attach(t, r, machine.Options{}))
	s.SetPhysicalMode(true)
	end := uint64(len(r.RAM))
	for addr, want := range map[uint64]int{end - 4: 4, end: 0, 0xfee00000: 0, ^uint64(0) - 7: 0} {
		n, err := s.ReadMemory(ctx, s.first, addr, make([]byte, 8))
		if n != want || !errors.Is(err, bridge.ErrNotRAM) {
			t.Errorf("at %#x: %d bytes, %v", addr, n, err)
		}
	}
	want := []gdbstub.Region{{First: 0, Last: end - 1, Mapped: true, Read: true, Name: "RAM"}, hole(end, ^uint64(0))}
	if diff := cmp.Diff(want, walk(t, s, 0)); diff != "" {
		t.Errorf("regions (-want +got):\n%s", diff)
	}
}

func TestMonitorPhys(t *testing.T) {
	s := connect(t, attach(t, rig.New(t, 4), machine.Options{}))
	for _, step := range []struct{ line, want string }{
		{"phys", "are virtual"}, {"phys on", "monitor phys off\nNow clear gdb's caches: maint flush dcache"},
		{"phys", "are physical"}, {"info", "Addresses are physical"}, {"phys off", "are virtual.\nNow clear"},
	} {
		if said := s.monitor(t, step.line); !strings.Contains(said, step.want) {
			t.Errorf("%s: %q, want %q in it", step.line, said, step.want)
		}
	}
	if said := s.monitor(t, "info"); strings.Contains(said, "physical:") {
		t.Errorf("info still says that addresses are physical:\n%s", said)
	}
	for _, line := range []string{"phys yes", "phys on off"} {
		rig.WantError(t, s.Monitor(ctx, &strings.Builder{}, line), "takes on or off")
	}
}

func TestAProgramHasPhysicalModeToo(t *testing.T) {
	r := rig.New(t, 4)
	m := attach(t, r, machine.Options{})
	p := newProgram(ctx, m, false, &linux.Task{}, userspace.AMD64, m.Space)
	rig.Must(t, p.Monitor(ctx, &strings.Builder{}, "phys on"))
	b := make([]byte, 5)
	_, err := p.ReadMemory(ctx, 1, uint64(r.TextPhys+8<<21), b)
	if err != nil || string(b) != memimage.Banner[:5] || !p.PhysicalMode() {
		t.Errorf("physical memory reads %q, %v", b, err)
	}
	p.SetPhysicalMode(false)
	if _, err = p.ReadMemory(ctx, 1, memimage.UserVA, b); err != nil || string(b) != "panic" {
		t.Errorf("virtual memory reads %q, %v", b, err)
	}
}
