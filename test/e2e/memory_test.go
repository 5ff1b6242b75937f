package e2e

import (
	"context"
	"flag"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"physgdb/bridge"
	"physgdb/test/guest"
)

// slow boots further machines, one with 72 GB of RAM among them.
var slow = flag.Bool("slow", false, "also boot machines that take some minutes: one with 72 GB of RAM, and kexec on further kernels")

// boot boots a guest for one test. It needs no vmlinux.
func boot(t *testing.T, c guest.Config) *guest.Guest {
	t.Helper()
	c.NoDebug, c.Dir = true, t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	g, err := guest.Boot(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// rows returns the values of physgdb info by the names of the rows.
func rows(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if found := regexp.MustCompile(`^(\S+(?: \S+)*)  +(.*)\n$`).FindStringSubmatch(line); found != nil {
			all[found[1]] = found[2]
		}
	}
	return all
}

// isKernel checks that info shows the kernel with _text at an address.
func isKernel(t *testing.T, info map[string]string, kallsyms map[string]uint64) {
	t.Helper()
	if want := fmt.Sprintf("%#x, at phys ", kallsyms["_text"]); !strings.HasPrefix(info["_text"], want) {
		t.Errorf("_text %s, want %s", info["_text"], want)
	}
}

// noteOf returns the option for the VMCOREINFO note of a kernel, from its /sys/kernel/vmcoreinfo.
func noteOf(t *testing.T, vmcoreinfo string) string {
	t.Helper()
	place, _, _ := strings.Cut(vmcoreinfo, " ")
	at, err := bridge.ParseAddr(place)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("--vmcoreinfo %#x", uint64(at))
}

// TestKdumpedGuest reads memory with two kernels: one has panicked, the other captures its dump.
func TestKdumpedGuest(t *testing.T) {
	for _, c := range []guest.Config{{Release: "6.12", LA57: true, PTI: true}, {Release: "6.1"}, {Release: "newest"}, {Release: "5.10"}} {
		t.Run(c.Release, func(t *testing.T) {
			if !*slow && c.Release != "6.12" {
				t.Skip("further kernels: -slow")
			}
			c.Panic = "kdump"
			g := boot(t, c)
			dead, capture := &g.Facts.Facts, g.Facts.Capture
			r := run(t, "info", g.Source())
			info := rows(r.Stdout)
			isKernel(t, info, dead.Kallsyms)
			wantOther := "the capture kernel that kdump started, Linux " + capture.Release + "; give " +
				noteOf(t, capture.VMCoreInfo) + " to see it"
			if info["other kernel"] != wantOther || info["died of"] == "" {
				t.Errorf("want %q:\n%s", wantOther, r.Stdout)
			}
			if !strings.Contains(r.Stderr, "memory contains two kernels") {
				t.Errorf("stderr: %s", r.Stderr)
			}
			if ps := run(t, "ps", g.Source()).Stdout; !strings.Contains(ps, " clock\n") {
				t.Errorf("the tasks are not those of the kernel that panicked:\n%s", ps)
			}
			// The option that info prints works as printed.
			_, option, _ := strings.Cut(info["other kernel"], "; give ")
			words := strings.Fields(option)
			r = run(t, "info", g.Source(), words[0], words[1])
			info = rows(r.Stdout)
			isKernel(t, info, capture.Kallsyms)
			wantOther = "the kernel that panicked; give " + noteOf(t, dead.VMCoreInfo) + " to see it"
			if info["other kernel"] != wantOther || info["died of"] != "" {
				t.Errorf("want %q:\n%s", wantOther, r.Stdout)
			}
			r = run(t, append([]string{"info", g.Source()}, strings.Fields(noteOf(t, dead.VMCoreInfo))...)...)
			info = rows(r.Stdout)
			isKernel(t, info, dead.Kallsyms)
			if !strings.HasPrefix(info["other kernel"], "the capture kernel that kdump started") {
				t.Error(r.Stdout)
			}
		})
	}
}

// TestKexecedGuest reads a machine that was rebooted by kexec: commands use the running kernel.
func TestKexecedGuest(t *testing.T) {
	if !*slow {
		t.Skip("it boots twice: -slow")
	}
	g := boot(t, guest.Config{Release: "6.12", Panic: "kexec"})
	isKernel(t, rows(run(t, "info", g.Source()).Stdout), g.Facts.Kallsyms)
	if old := g.Facts.Before.Kallsyms["_text"]; old == g.Facts.Kallsyms["_text"] {
		t.Log("both kernels are at the same address, so the test has no meaning")
	}
}

// isFound runs info on a machine whose source has no RAM map, and returns the time it took.
func isFound(t *testing.T, g *guest.Guest, source string) time.Duration {
	t.Helper()
	began := time.Now()
	r := run(t, "info", source)
	took := time.Since(began)
	info := rows(r.Stdout)
	isKernel(t, info, g.Facts.Kallsyms)
	listed, err := bridge.ParseRAMMap(strings.NewReader(g.Facts.IOMem))
	if err != nil {
		t.Fatal(err)
	}
	if want := listed.String() + " (by the kernel's own list)"; info["RAM map"] != want {
		t.Errorf("RAM map %s, want %s", info["RAM map"], want)
	}
	if cpus := strings.Split(info["CPUs"], ", "); len(cpus) != g.Facts.CPUs {
		t.Errorf("CPUs %q, want %d", cpus, g.Facts.CPUs)
	}
	_, layout, _ := strings.Cut(g.Source(), "?map=")
	layout, _, _ = strings.Cut(layout, "&")
	if !strings.HasPrefix(info["layout"], "?map="+layout+" fits: ") {
		t.Errorf("layout %q, want that of %s", info["layout"], g.Source())
	}
	t.Logf("found in %v: %s; %s; %s", took.Round(time.Millisecond), info["_text"], info["layout"], info["found by"])
	return took
}

// ramOf returns the source with the files of a guest's RAM, without a map.
func ramOf(g *guest.Guest) string {
	files := g.RAMFiles()
	source := "file:" + files[0]
	for i, file := range files[1:] {
		source += string("?&"[min(i, 1)]) + "file=" + file
	}
	return source
}

// TestNUMAGuest reads RAM from a file for each node, split around the PCI hole.
func TestNUMAGuest(t *testing.T) {
	g := boot(t, guest.Config{Release: "6.1", MemoryMiB: 3328, CPUs: 8, Nodes: 4})
	isFound(t, g, ramOf(g))
	if ps := run(t, "ps", ramOf(g)).Stdout; !strings.Contains(ps, " clock\n") {
		t.Error(ps)
	}
	// With the nodes in the order 3, 2, 1, 0 no layout fits, which is reported.
	files := g.RAMFiles()
	r, err := physgdb.Run(limited(t, time.Minute), "info", "file:"+files[3]+"?file="+files[2]+"&file="+files[1]+"&file="+files[0])
	if err != nil || r.Status == 0 || !strings.Contains(r.Stderr, "?map=0:0x80000000:0,0x100000000:0x50000000:0x80000000 or similar") {
		t.Errorf("status %d, %v\n%s\n%s", r.Status, err, r.Stdout, r.Stderr)
	}
}

// TestLargeGuest has a kernel that is sometimes far above 4 GiB, in a file that is mostly holes.
func TestLargeGuest(t *testing.T) {
	if !*slow {
		t.Skip("it takes some minutes: -slow")
	}
	const maxTime = 30 * time.Second // on a busy computer; searching all of it takes minutes
	g := boot(t, guest.Config{Release: "6.1", MemoryMiB: 72 << 10})
	if took := isFound(t, g, ramOf(g)); took > maxTime {
		t.Errorf("it took %v to find the kernel", took)
	}
}
