package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"physgdb/test/guest"
	"physgdb/test/session"
	"physgdb/test/verify"
)

// wildCall is a machine that died of a call through a pointer to no code.
var wildCall = &host{name: "6.12-wild", config: guest.Config{Release: "6.12", Panic: "wild"}}

// TestCallThroughWildPointer checks that backtraces continue there. The kernel's own unwinder does
// not: its trace lists the return addresses on the stack, each marked as a guess, and all expected
// functions are among them.
func TestCallThroughWildPointer(t *testing.T) {
	h := wildCall.ready(t)
	defer h.close()
	log, err := h.guest.KernelLog()
	if err != nil {
		t.Fatal(err)
	}
	var guesses []string
	for _, line := range log {
		if guess, ok := strings.CutPrefix(line.Text, " ? "); ok {
			guesses = append(guesses, guess)
		}
	}
	want := []string{"wild_inner [trouble]", "wild_middle [trouble]", "wild_small [trouble]", "trouble_write [trouble]",
		"proc_reg_write", "vfs_write", "ksys_write", "do_syscall_64", "entry_SYSCALL_64_after_hwframe"}
	traces := lines[verify.Trace](t, run(t, "bt", h.guest.Source(), "--symbols", "ram", "--json").Stdout)
	if len(traces) != 1 || traces[0].Lost != "" || len(traces[0].Frames) == 0 || traces[0].Frames[0].PC != "0x1234" {
		t.Fatalf("%+v", traces)
	}
	if got := traces[0].Functions()[1:]; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, f := range want {
		name, module, _ := strings.Cut(f, " ")
		i := slices.IndexFunc(guesses, func(g string) bool { return strings.HasPrefix(g, name+"+") && strings.HasSuffix(g, module) })
		if i < 0 {
			t.Errorf("%s is not in this order in the log", f)
			continue
		}
		guesses = guesses[i+1:]
	}
	bt := session.Find(gdb(t, "", h.unaided(t), "set print frame-arguments none", "bt"), "bt")
	if !strings.Contains(bt, "#0  0x0000000000001234 in [no-code] ()") {
		t.Errorf("gdb: %s", bt)
	}
	for i, f := range want {
		name, _, _ := strings.Cut(f, " ")
		if line := fmt.Sprintf(" in %s ", name); !strings.Contains(bt, line) || !strings.Contains(bt, fmt.Sprintf("\n#%-2d ", i+1)) {
			t.Errorf("gdb: %q is missing in\n%s", line, bt)
		}
	}
}
