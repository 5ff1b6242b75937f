package target

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/bridge"
	"physgdb/cmd/internal/machine"
	"physgdb/gdbstub"
	"physgdb/test/memimage"
	"physgdb/test/rig"
)

func TestThreads(t *testing.T) {
	r := rig.New(t, 4)
	unknown := func(cpu int) gdbstub.Thread {
		return gdbstub.Thread{
			ID: idleThread + gdbstub.ThreadID(cpu), Name: fmt.Sprintf("CPU %d", cpu), Text: "registers not known", Core: cpu,
		}
	}
	dead := unknown(2)
	dead.Text = "panicked: tests; task init, pid 1"
	alone := dead
	alone.Text = "panicked: tests"
	const anonymous = `{"physgdb":1,"event":"panic","cpu":2,"cr3":"CR3","message":" tests\n"}`
	negative := unknown(0)
	negative.Text = "panicked"
	first := unknown(0)
	first.Text += "; monitor info says why"
	const liar = `{"physgdb":1,"event":"panic","cpu":-3,"cr3":"CR3"}`
	for _, tc := range []struct {
		name, notice, vmlinux string
		want                  []gdbstub.Thread
	}{
		{"the CPU that panicked is first", rig.Panicked, r.Path("vmlinux"), []gdbstub.Thread{dead, unknown(0), unknown(69)}},
		{"without a notice they are in order", "", r.Path("vmlinux"),
			[]gdbstub.Thread{unknown(0), unknown(2), unknown(69)}},
		{"without a vmlinux there is the one that panicked", anonymous, "", []gdbstub.Thread{alone}},
		{"with neither there is one", "", "", []gdbstub.Thread{first}},
		{"a CPU that cannot be is none", liar, "", []gdbstub.Thread{negative}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := machine.Options{Vmlinux: tc.vmlinux}
			if tc.notice != "" {
				o.Notify = r.Notices(t, tc.notice)
			}
			threads, err := connect(t, attach(t, r, o)).Threads(ctx)
			rig.Must(t, err)
			if diff := cmp.Diff(tc.want, threads); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRegisters(t *testing.T) {
	r := rig.New(t, 4)
	root := gdbstub.Registers{"cr3": r.CR3}
	noticed := gdbstub.Registers{
		"cr3": r.CR3, "rip": 0xffffffff9d001010, "cs": kernelCS, "ss": kernelDS, "rsp": 0xffffc900001b3d28, "r12": 0x12,
		"cr4": 0xef0, "gs_base": 0xffff88801f100000,
	}
	for _, tc := range []struct {
		name   string
		notice string
		thread gdbstub.ThreadID
		want   gdbstub.Registers
	}{
		{"those of the notice, and no others", rig.Panicked, idleThread + 2, noticed},
		{"none of a CPU that only stopped", rig.Panicked, idleThread, root},
		{"no more than a rip, which gdb needs, without a notice", "", idleThread, gdbstub.Registers{"cr3": r.CR3, "rip": 0}},
		{"none of another CPU without a notice", "", idleThread + 2, root},
		{"no selectors without rip", `{"physgdb":1,"event":"panic","cpu":2,"cr3":"CR3","rbx":"0x7"}`, idleThread + 2,
			gdbstub.Registers{"cr3": r.CR3, "rip": 0, "rbx": 7}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := machine.Options{Vmlinux: r.Path("vmlinux")}
			if tc.notice != "" {
				o.Notify = r.Notices(t, tc.notice)
			}
			regs, err := connect(t, attach(t, r, o)).Registers(ctx, tc.thread)
			rig.Must(t, err)
			if diff := cmp.Diff(tc.want, regs); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSetCR3(t *testing.T) {
	for _, levels := range []int{4, 5} {
		r := rig.New(t, levels)
		for _, tc := range []struct {
			name string
			cr3  uint64
			want string // at the user page, or
			err  string
		}{
			{"a root", r.Clock, "tick", ""},
			{"a root with a PCID", r.Clock | 0x123, "tick", ""},
			{"the user half of a KPTI pair", r.Clock + 0x1000, "tick", ""},
			{"the user half with its PCID", r.Clock + 0x1806, "tick", ""},
			{"an empty page", 0x5000, "pani", "maps no kernel"},
			{"what is not RAM", 0x7fff0000, "pani", "not RAM"},
			{"zero", 0, "pani", "maps no kernel"},
		} {
			t.Run(fmt.Sprintf("%s, %d levels", tc.name, levels), func(t *testing.T) {
				s := connect(t, attach(t, r, machine.Options{}))
				err := s.WriteRegister(ctx, 1, "cr3", tc.cr3)
				if tc.err == "" {
					rig.Must(t, err)
				} else {
					rig.WantError(t, err, tc.err)
				}
				if got := s.user(t); got != tc.want {
					t.Errorf("reads %q, want %q", got, tc.want)
				}
				regs, _ := s.Registers(ctx, s.first)
				if regs["cr3"] != s.space.Root().CR3 {
					t.Errorf("shows cr3 %#x", regs["cr3"])
				}
			})
		}
	}
}

func TestSetCR3OfAnotherKernel(t *testing.T) {
	r := rig.New(t, 4)
	top := r.Page()
	for i := range uint64(9) {
		r.Map(top, 4, 2, memimage.LinkText+i<<21, r.TextPhys+bridge.PhysAddr(i<<21), 0)
	}
	r.Map(top, 4, 2, memimage.LinkText+9<<21, r.TextPhys+9<<21, memimage.Writable|memimage.NX)
	rig.Must(t, r.Kernel.WriteFile(r.Path("ram")))
	s := connect(t, attach(t, r, machine.Options{}))
	rig.WantError(t, s.WriteRegister(ctx, 1, "cr3", uint64(top)), "maps another kernel, at 0xffffffff81000000")
}

func TestOtherRegistersAreRefused(t *testing.T) {
	s := connect(t, attach(t, rig.New(t, 4), machine.Options{}))
	for _, name := range []string{"rip", "rax", "cr4", "CR3", ""} {
		rig.WantError(t, s.WriteRegister(ctx, 1, name, 1), "the only register that can be set is cr3")
	}
}

func TestSessionsDoNotShareTheirRoot(t *testing.T) {
	r := rig.New(t, 4)
	m := attach(t, r, machine.Options{Notify: r.Notices(t, rig.Hello, rig.Panicked)})
	a, b := connect(t, m), connect(t, m)
	rig.Must(t, a.WriteRegister(ctx, 1, "cr3", r.Clock))
	if a.user(t) != "tick" || b.user(t) != "pani" || connect(t, m).user(t) != "pani" {
		t.Error("one session's cr3 is another's, too")
	}
	said := a.monitor(t, "info")
	if want := fmt.Sprintf("%#x, 4-level", r.Clock); !strings.Contains(said, want) {
		t.Errorf("no %s in\n%s", want, said)
	}
}

func TestRelocation(t *testing.T) {
	r := rig.New(t, 4)
	s := connect(t, attachWithVmlinux(t, r))
	if text, moved, ok := s.Relocation(ctx); text != r.Text() || moved != rig.Slide || !ok {
		t.Errorf("of the kernel: %#x, %#x, %v", text, moved, ok)
	}
	m := attach(t, r, machine.Options{Notify: r.Notices(t, rig.Hello, rig.Panicked), CR3: "hello:clock"})
	if _, _, ok := connect(t, m).Relocation(ctx); ok {
		t.Error("a program would be moved as if it were the kernel")
	}
}

// file is what the debugger has loaded.
type file int

const (
	aProgram       file = iota
	vmlinux             // where it runs
	unmovedVmlinux      // loaded after connecting, or on a connection that does not move it
	nextBuild           // of a kernel that differs after the banner
	otherText           // of a kernel with the same data
	otherKernel
	inLLDB // added to one of the others: lldb does not lend the symbols of the notes
)

// lend returns what gdb knows of the wanted symbols when it has a file.
func lend(r *rig.Rig, f file) map[string]uint64 {
	found := map[string]uint64{}
	lldb := f >= inLLDB
	f %= inLLDB
	if f == aProgram {
		return found
	}
	for _, s := range r.Symbols() {
		if !slices.Contains(vmlinuxCheckSymbols(), s.Name) || lldb && strings.Contains(s.Name, "notes") {
			continue
		}
		found[s.Name] = s.Link + rig.Slide
		switch {
		case f == unmovedVmlinux:
			found[s.Name] = s.Link
		case f == nextBuild && (strings.Contains(s.Name, "notes") || s.Name == dumpText):
			found[s.Name] += 0x40
		case f == otherText && s.Name == "panic":
			found[s.Name] += 0x40
		case f == otherKernel:
			found[s.Name] += 0x1000
		}
	}
	return found
}

func TestWhichFileTheUserLoaded(t *testing.T) {
	r := rig.New(t, 4)
	notices := r.Notices(t, rig.Hello, rig.Panicked)
	kernel, process := machine.Options{}, machine.Options{Notify: notices, CR3: "hello:clock"}
	known := machine.Options{Vmlinux: r.Path("vmlinux")}
	for _, tc := range []struct {
		name string
		o    machine.Options
		file file
		why  string // of the refusal; empty: memory is shown
	}{
		{"a program, at the kernel's root", kernel, aProgram, "the debugger's main file is not a kernel"},
		{"the vmlinux, at the kernel's root", kernel, vmlinux, ""},
		{"the vmlinux, which physgdb knows, too", known, vmlinux, ""},
		{"the vmlinux, loaded too late", kernel, unmovedVmlinux, "was loaded after connecting"},
		{"another kernel, at the kernel's root", kernel, otherKernel, "it is of another kernel"},
		{"the next build, its banner at the same place", kernel, nextBuild, "it is of another kernel"},
		{"the next build, where physgdb knows the right one", known, nextBuild, "it is of another kernel"},
		{"a kernel of other text, where physgdb knows the right one", known, otherText, "it is of another kernel"},
		{"the vmlinux in lldb", kernel, inLLDB + vmlinux, ""},
		{"the vmlinux in lldb, which physgdb knows, too", known, inLLDB + vmlinux, ""},
		{"the next build in lldb, its banner at the same place", kernel, inLLDB + nextBuild, "it is of another kernel"},
		{"the next build in lldb, where physgdb knows the right one", known, inLLDB + nextBuild, "it is of another kernel"},
		{"the vmlinux in lldb, loaded too late", kernel, inLLDB + unmovedVmlinux, "was loaded after connecting"},
		{"a program in lldb, at the kernel's root", kernel, inLLDB + aProgram, "the debugger's main file is not a kernel"},
		{"a program, at its root", process, aProgram, ""},
		{"the vmlinux, at the root of a process", process, unmovedVmlinux, "this connection is for the program clock"},
		{"the vmlinux moved by hand, at the root of a process", process, vmlinux, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := connect(t, attach(t, r, tc.o))
			s.user(t) // nothing is known yet
			rig.Must(t, s.BorrowSymbols(ctx, lend(r, tc.file)))
			s.shows(t, tc.why)
		})
	}
}

// shows checks that memory is shown, or refused for a reason that the user can find.
func (s *session) shows(t *testing.T, why string) {
	t.Helper()
	if why == "" {
		s.user(t)
		return
	}
	for _, addr := range []uint64{memimage.UserVA, s.m.Kernel.Text, memimage.HoleVA} {
		p := []byte("????")
		n, err := s.ReadMemory(ctx, s.first, addr, p)
		rig.WantError(t, err, why)
		if n != 0 || string(p) != "????" {
			t.Errorf("%d bytes at %#x are shown", n, addr)
		}
	}
	threads, err := s.Threads(ctx)
	rig.Must(t, err)
	if !strings.Contains(threads[0].Text, "monitor info") {
		t.Errorf("thread %+v does not lead to the reason", threads[0])
	}
	if said := s.monitor(t, "info"); !strings.Contains(said, why) {
		t.Errorf("no %q in\n%s", why, said)
	}
}

func TestTheFileIsJudgedAgain(t *testing.T) {
	r := rig.New(t, 4)
	s := connect(t, attach(t, r, machine.Options{}))
	for i, step := range []struct {
		file file
		why  string
	}{
		{aProgram, "not a kernel"}, {vmlinux, ""}, {otherKernel, "another kernel"}, {aProgram, "not a kernel"}, {vmlinux, ""},
	} {
		rig.Must(t, s.BorrowSymbols(ctx, lend(r, step.file)))
		s.shows(t, step.why)
		if t.Failed() {
			t.Fatalf("at step %d", i)
		}
	}
}

func TestEveryLandmarkIsInAVmlinux(t *testing.T) {
	s := connect(t, attachWithVmlinux(t, rig.New(t, 4)))
	for _, name := range s.WantedSymbols() {
		if _, ok := s.m.Kernel.Addr(name); !ok {
			t.Errorf("%s is not in the vmlinux: nothing is checked by it", name)
		}
	}
}

func TestWhyHalted(t *testing.T) {
	r := rig.New(t, 4)
	for want, o := range map[string]machine.Options{
		"This machine is dead: it can be examined, but it cannot run.": {},
		"This machine is dead (panicked: tests; task init, pid 1): it can be examined, but it cannot run.": {
			Notify: r.Notices(t, rig.Panicked)},
	} {
		if got := connect(t, attach(t, r, o)).WhyHalted(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestASessionLeavesTheMachineOpen because others may still be at it, or come.
func TestASessionLeavesTheMachineOpen(t *testing.T) {
	m := attach(t, rig.New(t, 4), machine.Options{})
	rig.Must(t, connect(t, m).Close())
	connect(t, m).user(t)
}
