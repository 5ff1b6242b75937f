package main

import (
	"strings"
	"testing"
)

// TestQuestionsOnTheCommandLine checks what is the command line's own about them; the answers are
// tested where they are.
func TestQuestionsOnTheCommandLine(t *testing.T) {
	h := newHost(t)
	notices := h.file(t, "notices", h.hello("clock")+h.death())
	for _, tc := range []struct {
		name, line string
		status     int
		out, err   string
	}{
		{"roots", "cr3 RAM --notify " + notices, exitDone, "kernel CR3\npanic CR3\nclock CLOCK\n", ""},
		{"some roots", "cr3 RAM clock kernel --notify " + notices, exitDone, "clock CLOCK\nkernel CR3\n", ""},
		{"an option amid", "cr3 RAM clock --json --notify " + notices, exitDone, `{"name":"clock","cr3":"CLOCK"}` + "\n", ""},
		{"a switch that is off", "cr3 RAM clock --json=false --notify " + notices, exitDone, "clock CLOCK\n", ""},
		{"not all that was asked for", "cr3 RAM cron clock --notify " + notices, exitFailed, "clock CLOCK\n",
			`cr3: "cron" is neither`},
		{"no vmlinux", "ps RAM --cr3 CR3", exitFailed, "", "; give --vmlinux FILE"},
		{"no symbols wanted", "ps RAM --symbols none --cr3 CR3", exitFailed, "", "ps: the kernel's symbols are not known: leave out --symbols none"},
		{"no vmlinux for a backtrace", "bt RAM --cr3 CR3 all", exitFailed, "", "bt: the kernel's symbols are not known"},
		{"no vmlinux for a report", "info RAM --cr3 CR3 --report", exitFailed, "", "report: the kernel's symbols are not known"},
		{"a log that is not there", "dmesg RAM --cr3 CR3 --vmlinux VMLINUX", exitFailed, "", "dmesg: the kernel's log: "},
		{"no modules", "modules RAM --cr3 CR3 --vmlinux VMLINUX", exitFailed, "", "modules: "},
		{"a level that is none", "dmesg RAM --cr3 CR3 -l loud", exitUsage, "", "dmesg: -l loud: want levels such as err,warn"},
		{"no level", "dmesg RAM --cr3 CR3 -l", exitUsage, "", "dmesg: -l needs a value; see physgdb dmesg --help"},
		{"a word too many", "dmesg RAM 50 --cr3 CR3", exitUsage, "", "dmesg takes no arguments"},
		{"a word too few", "percpu RAM runqueues --cr3 CR3", exitUsage, "", "percpu: want SYMBOL and CPU"},
		{"nonsense, before waiting", "percpu RAM a b --notify udp://127.0.0.1:0", exitUsage, "", `"b" is no CPU`},
		{"no SOURCE", "bt --cr3 CR3", exitUsage, "", "want SOURCE [PID|NAME|cpus|blocked|all]...; see physgdb bt --help"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := physgdb(t, h.words(tc.line)...)
			r.want(t, tc.status, tc.err)
			want := strings.NewReplacer("CR3", h.cr3, "CLOCK", h.clock).Replace(tc.out)
			if r.out != want {
				t.Errorf("%q, want %q", r.out, want)
			}
		})
	}
}
