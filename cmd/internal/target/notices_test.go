package target

import (
	"strings"
	"testing"

	"physgdb/cmd/internal/machine"
	"physgdb/test/rig"
)

func TestTheRootThatIsChosen(t *testing.T) {
	r := rig.New(t, 5)
	la57 := strings.Replace(rig.Panicked, "0xef0", "0x1ef0", 1)
	for _, tc := range []struct {
		name, cr3, user, process string
	}{
		{"that of the panic", "", "pani", ""},
		{"a number before that of the panic", rig.Hex(r.Clock), "tick", ""},
		{"a program's", "hello:clock", "tick", "clock"},
	} {
		m := attach(t, r, machine.Options{Notify: r.Notices(t, rig.Hello, la57), CR3: tc.cr3})
		if got := connect(t, m).user(t); got != tc.user || m.Process != tc.process || m.Kernel.Root.Levels != 5 {
			t.Errorf("%s: reads %q as %q, %d levels", tc.name, got, m.Process, m.Kernel.Root.Levels)
		}
	}
}
