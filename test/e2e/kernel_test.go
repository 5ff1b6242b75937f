package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/test/session"
)

// TestPanicBacktrace compares gdb's backtrace of the panicking CPU with the Call Trace that the
// kernel printed.
func TestPanicBacktrace(t *testing.T) {
	on(t, func(t *testing.T, h *host) {
		address := serve(t, adapter(t, h), "--notify", h.notices, "--vmlinux", h.guest.Kernel.Vmlinux, "--threads", "cpus")
		steps := gdb(t, h.guest.Kernel.Vmlinux, address, "bt", "info threads")
		want := session.TrimTrace(h.guest.Facts.CallTrace)
		if len(want) < 5 || want[0] != "panic" {
			t.Fatalf("the Call Trace in the log is incomplete: %q", want)
		}
		if diff := cmp.Diff(want, session.Trace(session.Find(steps, "bt"), h.vmlinux, h.slide(t))); diff != "" {
			t.Errorf("(-log +gdb):\n%s\n%s", diff, session.Find(steps, "bt"))
		}
		threads := session.Find(steps, "info threads")
		if !strings.Contains(threads, "panicked: sysrq triggered crash; task init") {
			t.Errorf("info threads does not show the cause of the panic:\n%s", threads)
		}
		if n := strings.Count(threads, "Thread 1."); n != h.guest.Facts.CPUs {
			t.Errorf("%d threads for %d CPUs:\n%s", n, h.guest.Facts.CPUs, threads)
		}
	})
}

// TestKernelIsRelocated compares the kernel's symbols in gdb with the guest's own /proc/kallsyms.
func TestKernelIsRelocated(t *testing.T) {
	on(t, func(t *testing.T, h *host) {
		kallsyms := h.guest.Facts.Kallsyms
		names := sampleSymbols(h, 40)
		commands := []string{"x/s linux_banner", "p &init_task", "p init_task.comm", "p/x jiffies", "info line vfs_read"}
		for _, name := range names {
			commands = append(commands, fmt.Sprintf("info symbol %#x", kallsyms[name]))
		}
		address := serve(t, h.guest.Source(), "--notify", h.notices, "--vmlinux", h.guest.Kernel.Vmlinux)
		steps := gdb(t, h.guest.Kernel.Vmlinux, address, commands...)
		for _, name := range names {
			out := session.Find(steps, fmt.Sprintf("info symbol %#x", kallsyms[name]))
			if !sameAddress(h, name, strings.Fields(out + " ?")[0]) || strings.Contains(out, " + ") {
				t.Errorf("%s at %#x: gdb prints %q", name, kallsyms[name], out)
			}
		}
		for command, want := range map[string]string{
			"x/s linux_banner":   fmt.Sprintf("%#x <linux_banner>:\t\"Linux version %s ", kallsyms["linux_banner"], h.guest.Facts.Release),
			"p &init_task":       fmt.Sprintf("= (struct task_struct *) %#x <init_task>", kallsyms["init_task"]),
			"p init_task.comm":   `"swapper/0\000`,
			"info line vfs_read": fmt.Sprintf("starts at address %#x <vfs_read>", kallsyms["vfs_read"]),
		} {
			if out := session.Find(steps, command); !strings.Contains(out, want) {
				t.Errorf("%s: %q, want %q in it", command, out, want)
			}
		}
		if got, want := session.Value(session.Find(steps, "p/x jiffies")), h.qemuWord(t, kallsyms["jiffies"]); got != want {
			t.Errorf("jiffies is %s, QEMU has %s", got, want)
		}
	})
}

// sampleSymbols returns functions that are also in vmlinux and that gdb shows by their names. It
// takes two underscores for another language's dot.
func sampleSymbols(h *host, n int) []string {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(h.guest.Facts.Kallsyms)), func(name string) bool {
		s, ok := h.vmlinux.Lookup(name)
		return !ok || !s.Func || strings.Contains(name, ".") || strings.Contains(name, "__") || s.Size == 0
	})
	rng := rand.New(rand.NewPCG(1, 2))
	rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:min(n, len(names))]
}

// sameAddress reports whether two names have the same address in vmlinux: gdb may print either.
func sameAddress(h *host, a, b string) bool {
	x, ok1 := h.vmlinux.Lookup(a)
	y, ok2 := h.vmlinux.Lookup(b)
	return ok1 && ok2 && x.Addr == y.Addr
}

// qemuWord returns the 64-bit word at a virtual address from QEMU's monitor.
func (h *host) qemuWord(t *testing.T, va uint64) string {
	t.Helper()
	out, err := h.guest.HMP(limited(t, time30s), fmt.Sprintf("x/1gx %#x", va))
	if err != nil {
		t.Fatal(err)
	}
	_, value, _ := strings.Cut(strings.TrimSpace(out), ": ")
	v, err := strconv.ParseUint(value, 0, 64)
	if err != nil {
		t.Fatalf("QEMU has %q", out)
	}
	return fmt.Sprintf("%#x", v)
}

// TestClock prints a variable of a user process in every supported way.
func TestClock(t *testing.T) {
	on(t, func(t *testing.T, h *host) {
		want := fmt.Sprint(h.guest.Facts.LastClock)
		const clock = "p 'main.UnixTimeNow'"
		t.Run("its ELF as the main file", func(t *testing.T) {
			address := serve(t, adapter(t, h), "--notify", h.notices, "--cr3", "hello:clock")
			steps := gdb(t, h.guest.ClockELF(), address, clock, "p 'main.Last'.Unix")
			if got := session.Value(session.Find(steps, clock)); got != want {
				t.Errorf("%q, want %s", got, want)
			}
			if got := session.Value(session.Find(steps, "p 'main.Last'.Unix")); got != want {
				t.Errorf("member of a struct: %q, want %s", got, want)
			}
		})
		t.Run("with vmlinux, by name and by CR3", func(t *testing.T) {
			address := serve(t, h.guest.Source(), "--notify", h.notices)
			setCR3 := fmt.Sprintf("set $cr3 = %#x", h.guest.Facts.ClockCR3)
			steps := gdb(t, h.guest.Kernel.Vmlinux, address, "add-symbol-file "+h.guest.ClockELF(),
				"monitor cr3 clock", "maint flush dcache", clock, "monitor cr3 kernel", setCR3, "p/x $cr3", clock+" + 0")
			for _, command := range []string{clock, clock + " + 0"} {
				if got := session.Value(session.Find(steps, command)); got != want {
					t.Errorf("%s: %q, want %s\n%s", command, got, want, session.Transcript(steps))
				}
			}
			if got := session.Value(session.Find(steps, "p/x $cr3")); got != fmt.Sprintf("%#x", h.guest.Facts.ClockCR3) {
				t.Errorf("$cr3 is %s", got)
			}
		})
		t.Run("as a thread of the kernel's gdb", func(t *testing.T) {
			address := h.stub(t)
			toClock := fmt.Sprintf("python [t.switch() for t in gdb.selected_inferior().threads() if t.ptid[1] == %d]",
				h.guest.Facts.ClockPID)
			steps := gdb(t, h.guest.Kernel.Vmlinux, address, "add-symbol-file "+h.guest.ClockELF(), clock, toClock, clock+" + 0",
				"p/x $fs_base", "thread 1", clock+" + 1")
			if got := session.Value(session.Find(steps, clock+" + 0")); got != want {
				t.Errorf("%q, want %s\n%s", got, want, session.Transcript(steps))
			}
			if got := session.Value(session.Find(steps, "p/x $fs_base")); got != fmt.Sprintf("%#x", h.guest.Facts.ClockFSBase) {
				t.Errorf("$fs_base is %s, the clock has %#x", got, h.guest.Facts.ClockFSBase)
			}
			for _, command := range []string{clock, clock + " + 1"} { // in the address space of another process
				if got := session.Value(session.Find(steps, command)); got == want {
					t.Errorf("another thread reads the clock's memory: %q", got)
				}
			}
		})
		t.Run("never silently wrong", func(t *testing.T) {
			kernel := serve(t, h.guest.Source(), "--notify", h.notices)
			steps := gdb(t, h.guest.ClockELF(), kernel, clock, "info threads", "monitor info")
			if out := session.Find(steps, clock); !strings.Contains(out, "Cannot access memory") {
				t.Errorf("a program as the main file on the kernel: %q", out)
			}
			for _, command := range []string{"info threads", "monitor info"} {
				if out := session.Find(steps, command); !strings.Contains(strings.ToLower(out), "memory is not shown") {
					t.Errorf("%s does not show the reason: %q", command, out)
				}
			}
			process := serve(t, h.guest.Source(), "--notify", h.notices, "--cr3", "hello:clock")
			steps = gdb(t, h.guest.Kernel.Vmlinux, process, "p jiffies")
			if out := session.Find(steps, "p jiffies"); !strings.Contains(out, "Cannot access memory") {
				t.Errorf("a vmlinux that is not relocated: %q", out)
			}
		})
	})
}

// TestWrongVmlinux checks that a vmlinux of another kernel is refused with a clear message and
// shows no values.
func TestWrongVmlinux(t *testing.T) {
	dead, other := hosts[0].ready(t), hosts[3].ready(t)
	r, err := physgdb.Run(limited(t, time30s), "info", dead.guest.Source(), "--notify", dead.notices,
		"--vmlinux", other.guest.Kernel.Vmlinux)
	if err != nil || r.Status != 1 || !strings.Contains(r.Stderr, fmt.Sprintf("%x", other.vmlinux.BuildID)) ||
		strings.Count(r.Stderr, "\n") != 1 {
		t.Errorf("status %d, %v, stderr %q", r.Status, err, r.Stderr)
	}
	address := serve(t, dead.guest.Source(), "--notify", dead.notices)
	steps := gdb(t, other.guest.Kernel.Vmlinux, address, "p jiffies")
	if out := session.Find(steps, "p jiffies"); !strings.Contains(out, "Cannot access memory") {
		t.Errorf("gdb with another vmlinux printed %q", out)
	}
}

// TestInfo compares the output of info with what the machine reported.
func TestInfo(t *testing.T) {
	on(t, func(t *testing.T, h *host) {
		out := run(t, "info", adapter(t, h), "--notify", h.notices, "--vmlinux", h.guest.Kernel.Vmlinux).Stdout
		levels := "4-level"
		if h.config.LA57 {
			levels = "5-level"
		}
		log := h.log(t)
		offset := regexp.MustCompile(`Kernel Offset: (0x[0-9a-f]+) from`).FindStringSubmatch(log)
		if offset == nil {
			t.Fatal("the log does not contain the kernel's offset")
		}
		for _, want := range []string{
			"Linux version " + h.guest.Facts.Release, levels, "slide      " + offset[1] + "\n",
			fmt.Sprintf("_text      %#x, at phys %#x\n", h.guest.Facts.Kallsyms["_text"], h.gva2gpa(t, h.guest.Facts.Kallsyms["_text"])),
			"panicked: sysrq triggered crash; task init",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
	})
}

// TestSymbolsFromGDB gives the vmlinux only to gdb: after connecting, every task is listed.
func TestSymbolsFromGDB(t *testing.T) {
	onTwo(t, func(t *testing.T, h *host) {
		address := serve(t, adapter(t, h), "--symbols", "none")
		dead := fmt.Sprintf("thread find %s", h.guest.Facts.PanicMessage)
		const banner = "x/s linux_banner"
		steps := gdb(t, h.guest.Kernel.Vmlinux, address, "info threads", dead, "thread 2", "bt", "monitor ps", "monitor info",
			"add-symbol-file "+h.guest.ClockELF(), banner)
		threads := session.Find(steps, "info threads")
		for _, want := range h.guest.Facts.Threads {
			name := fmt.Sprintf("Thread 1.%d %q", want.TID, want.Comm)
			if !strings.HasPrefix(want.Comm, "kworker/") && !strings.Contains(threads, name) {
				t.Errorf("%s is missing in\n%s", name, threads)
			}
		}
		if out := session.Find(steps, dead); !strings.HasPrefix(out, "Thread 2 ") {
			t.Errorf("the first thread is not the one that panicked: %q", out)
		}
		want := session.TrimTrace(h.guest.Facts.CallTrace)
		if diff := cmp.Diff(want, session.Trace(session.Find(steps, "bt"), h.vmlinux, h.slide(t))); diff != "" {
			t.Errorf("(-log +gdb):\n%s", diff)
		}
		if out := session.Find(steps, banner); !strings.Contains(out, "Linux version ") { // gdb was asked again for its file
			t.Errorf("the kernel is not shown after a program was loaded: %q", out)
		}
		if out := session.Find(steps, "monitor info"); !strings.Contains(out, "only a few, from the debugger") {
			t.Errorf("monitor info does not say where the symbols come from:\n%s", out)
		}
	})
}
