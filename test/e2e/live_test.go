package e2e

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"physgdb/test/guest"
	"physgdb/test/session"
)

// TestLive debugs a running machine: continue and Ctrl-C show its current state, steps are refused.
func TestLive(t *testing.T) {
	g, err := guest.Boot(limited(t, 5*time.Minute), guest.Config{Release: "6.1", Panic: "none", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	h := &host{guest: g}
	address := serve(t, "--live", adapter(t, h), "--vmlinux", g.Kernel.Vmlinux)
	ctx := limited(t, 2*time.Minute)
	gdb, err := session.InteractiveGDB(ctx, g.Kernel.Vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	defer gdb.Close(ctx, "quit")
	says := func(step session.Step, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s", step.Command, step.Output)
		return step.Output
	}
	jiffies := func() uint64 {
		t.Helper()
		v, err := strconv.ParseUint(session.Value(says(gdb.Type(ctx, "p jiffies"))), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}

	if out := says(gdb.Type(ctx, "target remote "+address)); !strings.Contains(out, " in ") {
		t.Errorf("gdb connects to a thread without registers: %q", out)
	}
	before := jiffies()
	time.Sleep(100 * time.Millisecond)
	if again := jiffies(); again != before {
		t.Errorf("between two stops jiffies went from %d to %d", before, again)
	}
	const ran = 1500 * time.Millisecond
	out := says(gdb.TypeAndInterrupt(ctx, "continue", ran))
	if !strings.Contains(out, "received signal SIGINT") || strings.Contains(out, "This machine") {
		t.Errorf("continue, then Ctrl-C: %q", out)
	}
	const hz = 250 // CONFIG_HZ of Debian's kernels
	if ticks := jiffies() - before; ticks < hz/2 {
		t.Errorf("in %v there were %d ticks", ran, ticks)
	}
	if out := says(gdb.Type(ctx, "next")); !strings.Contains(out, "This machine runs, and is not stopped") {
		t.Errorf("next: %q", out)
	}
	list := says(gdb.Type(ctx, "info threads"))
	if !strings.Contains(list, `"clock"`) || !strings.Contains(list, `"kthreadd"`) {
		t.Errorf("info threads:\n%s", list)
	}
	if out := says(gdb.Type(ctx, "monitor info")); strings.Contains(out, "died of") {
		t.Errorf("a running machine is shown as dead:\n%s", out)
	}
}
