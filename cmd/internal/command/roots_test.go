package command

import (
	"strings"
	"testing"

	"physgdb/cmd/internal/machine"
	"physgdb/test/rig"
)

func TestRoots(t *testing.T) {
	r := rig.New(t, 4)
	m := attach(t, r, machine.Options{Notify: r.Notices(t, rig.Hello, rig.Panicked)})
	cr3, clock := rig.Hex(r.CR3), rig.Hex(r.Clock)
	for _, tc := range []struct{ name, line, want, err string }{
		{"all that are known", "", "kernel " + cr3 + "\npanic " + cr3 + "\nclock " + clock + "\n", ""},
		{"the kernel's", "kernel", "kernel " + cr3 + "\n", ""},
		{"some", "clock panic", "clock " + clock + "\npanic " + cr3 + "\n", ""},
		{"a number", "0x5000", "0x5000 0x5000\n", ""},
		{"one of them is unknown", "cron clock", "clock " + clock + "\n", `cr3: "cron" is neither`},
		{"as JSON", "--json kernel", `{"name":"kernel","cr3":"` + cr3 + `"}` + "\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := run(t, m, append([]string{"cr3"}, strings.Fields(tc.line)...)...)
			if tc.err != "" {
				rig.WantError(t, err, tc.err)
			} else {
				rig.Must(t, err)
			}
			if got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
