package target

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"physgdb/cmd/internal/machine"
	"physgdb/symbols"
	"physgdb/test/memimage"
	"physgdb/test/rig"
)

func TestSearchThatIsNotFinishedNamesMonitorFind(t *testing.T) {
	s := connect(t, attach(t, rig.New(t, 4), machine.Options{}))
	late, cancel := context.WithCancel(ctx)
	cancel()
	_, _, err := s.SearchMemory(late, s.first, memimage.UserVA, 1<<20, []byte("no"))
	rig.WantError(t, err, "monitor find")
	at, found, err := s.SearchMemory(ctx, s.first, 0, ^uint64(0), []byte("panic"))
	if err != nil || !found || at != memimage.UserVA {
		t.Errorf("%#x, %v, %v", at, found, err)
	}
	s.memoryBlocked = errors.New("no")
	if _, _, err := s.SearchMemory(ctx, s.first, 0, 1, []byte("x")); err == nil {
		t.Error("memory is searched that is not to be shown")
	}
}

func TestMonitorFindLooksAtTheThreadsSpace(t *testing.T) {
	r := rig.New(t, 4)
	s := connect(t, attach(t, r, machine.Options{Notify: r.Notices(t, rig.Hello, rig.Panicked)}))
	line := fmt.Sprintf(`find %#x, +0x1000, "tick"`, memimage.UserVA)
	if said := s.monitor(t, line); !strings.Contains(said, "found: 0,") {
		t.Errorf("says %q", said)
	}
	s.monitor(t, "cr3 clock")
	if said := s.monitor(t, line); !strings.Contains(said, "found: 1,") {
		t.Errorf("in the space of clock: %q", said)
	}
}

func TestLoadAddressesAreThoseOfTheLinkedKernel(t *testing.T) {
	r := rig.New(t, 4)
	s := connect(t, attachWithVmlinux(t, r))
	banner, _ := s.m.Kernel.Symbols.Lookup("linux_banner")
	p := make([]byte, 5)
	n, err := s.ReadLoaded(ctx, s.first, banner.Addr-0xffffffff80000000, p)
	if n != 5 || err != nil || string(p) != "Linux" {
		t.Errorf("%d, %v: %q", n, err, p)
	}
	m := attach(t, r, machine.Options{Notify: r.Notices(t, rig.Hello, rig.Panicked), CR3: "hello:clock"})
	s = connect(t, m)
	if n, err := s.ReadLoaded(ctx, s.first, memimage.UserVA, p[:4]); n != 4 || err != nil || string(p[:4]) != "tick" {
		t.Errorf("of a program: %d, %v: %q", n, err, p)
	}
}

// TestDebuggersAreShownNoPerCPUTemplate: what the kernel copied for each CPU, and then freed, is no
// variable.
func TestDebuggersAreShownNoPerCPUTemplate(t *testing.T) {
	s := connect(t, attachWithNames(t))
	p := make([]byte, 8)
	_, err := s.ReadMemory(ctx, s.first, memimage.LinkText+rig.Slide+0x7100, p)
	rig.WantError(t, err, "add $gs_base to its address")
	if _, err := s.ReadMemory(ctx, s.first, memimage.LinkText+rig.Slide+0x8000, p); err != nil {
		t.Errorf("after the template: %v", err)
	}
}

// attachWithNames attaches to a rig whose kernel has names that several symbols share, and per-CPU
// variables in its image, as since 6.15.
func attachWithNames(t *testing.T) *machine.Machine {
	t.Helper()
	m := attachWithVmlinux(t, rig.New(t, 4))
	known, err := m.Kernel.With(ctx, symbols.NewTable([]symbols.Symbol{
		{Name: "_text", Addr: memimage.LinkText}, {Name: "s_show", Addr: memimage.LinkText + 0x2000, Func: true},
		{Name: "s_show", Addr: memimage.LinkText + 0x5000, Func: true}, {Name: "__per_cpu_offset", Addr: memimage.LinkText + 0x6000},
		{Name: "__per_cpu_start", Addr: memimage.LinkText + 0x7000}, {Name: "runqueues", Addr: memimage.LinkText + 0x7100},
		{Name: "__per_cpu_end", Addr: memimage.LinkText + 0x8000},
	}, nil), nil)
	rig.Must(t, err)
	m.Kernel = known
	return m
}
