package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"physgdb/test/guest"
	"physgdb/test/verify"
)

// TestCPUThatNeverStarted uses a machine with one possible CPU more than it ran on, as on machines
// with empty sockets.
func TestCPUThatNeverStarted(t *testing.T) {
	h := &host{
		name: "6.1-maxcpus", dir: filepath.Join(t.TempDir(), "guest"),
		config: guest.Config{Release: "6.1", CPUs: 3, Cmdline: "maxcpus=2"},
	}
	h.ready(t)
	defer h.close()
	if h.guest.Facts.CPUs != 2 {
		t.Fatalf("the guest ran on %d CPUs, want 2", h.guest.Facts.CPUs)
	}
	if cpus := row(t, h.explain(t, "info").Stdout, "CPUs"); strings.Count(cpus, "offline") != 1 || !strings.HasSuffix(cpus, ", 2 (offline)") {
		t.Errorf("CPUs are %q", cpus)
	}
	running := 0
	for _, p := range lines[verify.Task](t, h.explain(t, "ps", "--json").Stdout) {
		if p.Running {
			running++
		}
	}
	if running != 2 {
		t.Errorf("%d tasks were running, want one on each of 2 CPUs", running)
	}
	if onCPUs := lines[verify.Trace](t, h.explain(t, "bt", "--json", "cpus").Stdout); len(onCPUs) != 2 {
		t.Errorf("backtraces of %d CPUs, want 2", len(onCPUs))
	}
	for _, tr := range lines[verify.Trace](t, h.explain(t, "bt", "--json", "all").Stdout) { // run also checks the exit status
		if idle := tr.Comm == "swapper/2"; (tr.Lost != "") != idle || idle && !strings.Contains(tr.Lost, "CPU 2 was offline") {
			t.Errorf("%s has an incomplete backtrace: %q", tr.Comm, tr.Lost)
		}
	}
}
