package target

import (
	"fmt"
	"strings"
	"testing"

	"physgdb/bridge"
	"physgdb/cmd/internal/machine"
	"physgdb/mmu"
	"physgdb/symbols/linux"
	"physgdb/test/memimage"
	"physgdb/test/rig"
)

// monitor returns what a command says, which must go well.
func (s *session) monitor(t *testing.T, line string) string {
	t.Helper()
	var said strings.Builder
	rig.Must(t, s.Monitor(ctx, &said, line))
	return said.String()
}

func TestMonitor(t *testing.T) {
	r := rig.New(t, 4)
	m := attach(t, r, machine.Options{Vmlinux: r.Path("vmlinux"), Notify: r.Notices(t, rig.Hello, rig.Panicked)})
	cr3, clock := fmt.Sprintf("cr3 %#x", r.CR3), fmt.Sprintf("cr3 %#x", r.Clock)
	for _, tc := range []struct {
		name, line string
		want       []string // in the answer
		user       string   // at the user page from then on
	}{
		{"nothing is a cry for help", "", []string{"monitor info", "monitor cr3 [--json] [HEX|PID|NAME|kernel|panic|threads]", "monitor help"},
			"pani"},
		{"help for one command", "help vtop", []string{"monitor vtop [--json] ADDRESS..."}, "pani"},
		{"help", "help", []string{"monitor vtop [--json] ADDRESS...", "monitor bt [--no-lines] [--json] [PID|NAME|cpus|blocked|all]...",
			"(also lx-dmesg)"}, "pani"},
		{"info", "info", []string{"db7", "panicked: tests", "0x1c000000", "2 (panicked), 0, 69"}, "pani"},
		{"cr3 of a program", "cr3 clock", []string{clock, "maint flush dcache"}, "tick"},
		{"cr3 as --cr3 has it", "cr3 hello:clock", []string{clock}, "tick"},
		{"cr3 as a number", fmt.Sprintf("  cr3   %#x ", r.Clock), []string{clock}, "tick"},
		{"cr3 of each thread again", "cr3 threads", []string{"its own address space"}, "pani"},
		{"cr3 of the user half", fmt.Sprintf("cr3 %#x", r.Clock+0x1000), []string{clock, "for all threads"}, "tick"},
		{"cr3 back to the kernel", "cr3 kernel", []string{cr3}, "pani"},
		{"vtop", "vtop panic+4 0x401000", []string{"panic+0x4/0x200", "PML4  entry 511", "0x401000: PT entry 1"}, "pani"},
		{"maps of user space", "maps", []string{"0x400000-0x401000", "r-xu", "maps: 1 pages in 1 lines"}, "pani"},
		{"maps of user space, as the command has it", "maps --user", []string{"0x400000-0x401000", "in 1 lines"}, "pani"},
		{"maps of the kernel, as the command has it", "maps --kernel", []string{"0xffffffff9d000000-", "in 2 lines"}, "pani"},
		{"maps of the kernel", "maps kernel", []string{"0xffffffff9d000000-0xffffffff9e200000", "in 2 lines"}, "pani"},
		{"maps of a program's kernel", "maps clock --kernel", []string{"0xffffffff9d000000-", "in 2 lines"}, "pani"},
		{"every page", "maps --all --kernel", []string{"0xffffffff9d000000-0xffffffff9d200000"}, "pani"},
		{"stats", "stats", []string{"bridge: ", " reads in "}, "pani"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := connect(t, m)
			said := s.monitor(t, tc.line)
			for _, want := range tc.want {
				if !strings.Contains(said, want) {
					t.Errorf("no %q in\n%s", want, said)
				}
			}
			if got := s.user(t); got != tc.user {
				t.Errorf("then reads %q, want %q", got, tc.user)
			}
		})
	}
}

func TestMonitorRefuses(t *testing.T) {
	r := rig.New(t, 4)
	s := connect(t, attach(t, r, machine.Options{Notify: r.Notices(t, rig.Hello, rig.Panicked)}))
	for line, want := range map[string]string{
		"reboot":         `unknown command "reboot"; try: monitor help`,
		"info all":       `monitor info: unexpected arguments: ["all"]`,
		"stats 1":        "monitor stats takes no arguments",
		"cr3 a b":        "monitor cr3 takes one argument",
		"cr3 cron":       `"cron" is neither a task (see ps) nor kernel nor panic nor a CR3 such as 0x1000, and no program named "cron" has sent its CR3;`,
		"cr3 5000":       `"5000" is neither a task`,
		"cr3 0x5000":     "maps no kernel",
		"vtop":           "too few arguments: want ADDRESS...",
		"maps a b":       `monitor maps: unexpected arguments: ["b"]; want one PID, NAME or CR3`,
		"maps --al":      "monitor maps: unknown option --al; it is: maps [--all] [--json] [--user] [--kernel] [PID|NAME|kernel|panic|HEX]",
		"help ls":        `unknown command "ls"; monitor help lists all`,
		"maps cron":      `"cron" is neither`,
		"report":         "report: the kernel's symbols are not known: kallsyms: ",
		"ps":             "; give --vmlinux FILE",
		"lx-ps":          "ps: the kernel's symbols are not known",
		"bt":             "bt: the kernel's symbols are not known",
		"dmesg":          "dmesg: the kernel's symbols are not known",
		"modules":        "modules: the kernel's symbols are not known",
		"percpu x all":   "percpu: the kernel's symbols are not known",
		"percpu x":       "monitor percpu: want SYMBOL and CPU",
		"ps --bogus":     "monitor ps: unknown option --bogus; it is: ps [--json] [PID|NAME]...",
		"dmesg -n":       "monitor dmesg: -n needs a value; it is: dmesg [-T] [-l LEVELS] [-n N] [--json]",
		"dmesg 5":        "monitor dmesg takes no arguments",
		"vtop panic":     `"panic" is not an address such as 0x1000, and symbols are not known: kallsyms: `,
		"vtop 0x1000 10": "write 0x10",
	} {
		var said strings.Builder
		rig.WantError(t, s.Monitor(ctx, &said, line), want)
		if said.Len() > 0 {
			t.Errorf("%s: says %q besides", line, said.String())
		}
		if got := s.user(t); got != "pani" {
			t.Errorf("%s: then reads %q", line, got)
		}
	}
}

func TestMonitorInfoOfAThreadWithoutPageTables(t *testing.T) {
	s := connect(t, attachWithVmlinux(t, rig.New(t, 4)))
	s.space, s.now = nil, &thread{task: &linux.Task{PID: 143, MM: 0x1000}}
	var printed strings.Builder
	err := s.Monitor(ctx, &printed, "info")
	if err == nil || !strings.Contains(printed.String(), "found by") || !strings.Contains(printed.String(), "Linux version 6.1") {
		t.Errorf("%v, after\n%s", err, printed.String())
	}
}

func TestMonitorListsRoots(t *testing.T) {
	r := rig.New(t, 4)
	s := connect(t, attach(t, r, machine.Options{Notify: r.Notices(t, rig.Hello, rig.Panicked)}))
	want := fmt.Sprintf("cr3 %#x (of the thread)\nkernel %#[1]x\npanic %#[1]x\nclock %#x\n", r.CR3, r.Clock)
	if said := s.monitor(t, "cr3"); said != want {
		t.Errorf("says\n%s, want\n%s", said, want)
	}
	s.monitor(t, "cr3 clock")
	if said := s.monitor(t, "cr3"); !strings.HasPrefix(said, fmt.Sprintf("cr3 %#x (selected for all threads", r.Clock)) {
		t.Errorf("says\n%s", said)
	}
}

// TestMonitorBoundsItsLists because a debugger shows them before it goes on.
func TestMonitorBoundsItsLists(t *testing.T) {
	r := rig.New(t, 4)
	for i := range uint64(1000 + 1) { // two pages in turn, at every other address: none are adjacent, and none repeat
		r.Map(bridge.PhysAddr(r.CR3), 4, 1, 0x10000000+2*i*mmu.PageSize, bridge.PhysAddr(0x5000+i%2*mmu.PageSize), memimage.User)
	}
	rig.Must(t, r.Kernel.WriteFile(r.Path("ram")))
	said := connect(t, attach(t, r, machine.Options{})).monitor(t, "maps")
	if n := strings.Count(said, "r-xu"); n != 1000 || !strings.Contains(said, "only the first 1000 lines") {
		t.Errorf("%d lines, want %d and a note that these are not all:\n%s", n, 1000, said[len(said)-200:])
	}
}

func TestMonitorVtopFollowsTheSelectedRoot(t *testing.T) {
	r := rig.New(t, 4)
	s := connect(t, attach(t, r, machine.Options{}))
	before := s.monitor(t, "vtop 0x400000")
	rig.Must(t, s.setCR3(ctx, r.Clock))
	after := s.monitor(t, "vtop 0x400000")
	if after == before || !strings.Contains(after, "CR3   "+rig.Hex(r.Clock)) {
		t.Errorf("before\n%safter\n%s", before, after)
	}
}
