package command

import (
	"strings"
	"testing"

	"physgdb/cmd/internal/machine"
	"physgdb/test/rig"
)

// TestReportOfLittle checks that a report goes on where something is not known, and says so.
func TestReportOfLittle(t *testing.T) {
	r := rig.New(t, 4)
	got, err := run(t, attachWithVmlinux(t, r), "info", "--report")
	rig.Must(t, err)
	for _, want := range []string{
		"kernel        Linux version 6.1 (test)\n", "build-id      cafebabe\n", "host          not known: ",
		"command line  not known: the kernel has no symbol saved_command_line\n", "died          not known: ",
		"up            not known: ", "taint         not known: ", "KASLR         0x1c000000 from 0xffffffff81000000\n",
		"\nModules linked in: not known: ", "\nTasks: not known: ", "\nLog: not known: ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	_, err = run(t, attach(t, r, machine.Options{}), "info", "--report")
	rig.WantError(t, err, "report: the kernel's symbols are not known: kallsyms: ")
}
