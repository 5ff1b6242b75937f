package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"physgdb/test/verify"
)

// TestCrashAgrees compares with another reader of dead kernels on a dump of the same machine: crash
// 8.0.2, which needs the slide and phys_base on its command line and does not start on 6.12.
func TestCrashAgrees(t *testing.T) {
	h := hosts[0].ready(t)
	dump := filepath.Join(t.TempDir(), "vmcore")
	if err := h.guest.Dump(limited(t, time.Minute), dump); err != nil {
		t.Fatal(err)
	}
	physBase := kernelCode(t, h.guest.Facts.IOMem) - (h.guest.Facts.Kallsyms["_text"] - 0xffffffff80000000)
	cmd := exec.CommandContext(limited(t, 3*time.Minute), "crash", "-s", "--no_scroll", fmt.Sprintf("--kaslr=%#x", h.guest.Facts.Slide),
		"--machdep", fmt.Sprintf("phys_base=%#x", physBase), h.guest.Kernel.Vmlinux, dump)
	cmd.Stdin = strings.NewReader("echo @@\nlog\necho @@\nbt\nquit\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("crash: %v\n%s", err, out)
	}
	parts := strings.Split(string(out), "@@\n")
	if len(parts) != 3 {
		t.Fatalf("crash:\n%s", out)
	}
	log, bt := parts[1], parts[2]
	// crash prints the time on the first line of a record, physgdb on each line, as the console
	// does.
	stamp := regexp.MustCompile(`(?m)^ *\[ *\d+\.\d+\] ?`)
	var theirs, ours []string
	for line := range strings.Lines(log) {
		theirs = append(theirs, strings.TrimSpace(stamp.ReplaceAllString(line, "")))
	}
	for line := range strings.Lines(h.explain(t, "dmesg").Stdout) {
		ours = append(ours, strings.TrimSpace(stamp.ReplaceAllString(line, "")))
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("log (-crash +dmesg):\n%s", diff)
	}
	t.Logf("%d lines of log, equal in both", len(ours))
	h.crashFrames(t, bt)
}

// crashFrames checks that every frame of physgdb is in crash's backtrace, in the same order. The
// other frames of crash are stale.
func (h *host) crashFrames(t *testing.T, bt string) {
	t.Helper()
	var theirs []string
	for _, m := range regexp.MustCompile(`(?m)^ *#\d+ \[[0-9a-f]+\] (\S+) at [0-9a-f]+`).FindAllStringSubmatch(bt, -1) {
		theirs = append(theirs, m[1])
	}
	traces := lines[verify.Trace](t, h.explain(t, "bt", "--json").Stdout)
	rest, matched := theirs, 0
	for _, name := range traces[0].Functions() {
		i := slices.Index(rest, name)
		if i < 0 {
			t.Errorf("crash has no %s: %q", name, theirs)
			continue
		}
		rest, matched = rest[i+1:], matched+1
	}
	t.Logf("%d frames of ours are in crash's %d; the others are stale: %q", matched, len(theirs), theirs)
}
