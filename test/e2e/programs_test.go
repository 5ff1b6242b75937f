package e2e

import (
	"debug/elf"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"physgdb/test/guest"
	"physgdb/test/session"
)

// TestPrograms attaches gdb to a process of the machine as a second inferior, and compares what it
// shows with what the process reported.
func TestPrograms(t *testing.T) {
	onTwo(t, func(t *testing.T, h *host) {
		pid, threads := h.process(t, "clock")
		address := serve(t, adapter(t, h), "--vmlinux", h.guest.Kernel.Vmlinux)
		const number, last, base, inside = "p 'main.UnixTimeNow'", "p 'main.Last'.Number", "p/x $fs_base", "info symbol $pc"
		steps, err := session.GDB(limited(t, 3*time.Minute), h.guest.Kernel.Vmlinux,
			"target extended-remote "+address, "attach 1", "add-inferior", "inferior 2", "file "+h.guest.ClockELF(),
			"attach 2", fmt.Sprintf("attach %d", pid), number, base, inside, "bt", "info threads", "continue", last,
			"set var 'main.UnixTimeNow' = 7", number+" ", "inferior 1", "x/s linux_banner", "bt", "inferior 2", "detach",
			"inferior 1", "detach", "info os processes")
		if err != nil {
			t.Fatal(err)
		}
		if out := session.Find(steps, "attach 2"); !strings.Contains(out, "failed") {
			t.Errorf("attach to a thread of the kernel: %q", out)
		}
		now := fmt.Sprint(h.guest.Facts.LastClock)
		for _, command := range []string{number, number + " "} {
			if got := session.Value(session.Find(steps, command)); got != now {
				t.Errorf("the clock shows %q, want %s", got, now)
			}
		}
		if got, want := session.Value(session.Find(steps, base)), fmt.Sprintf("%#x", h.guest.Facts.ClockFSBase); got != want {
			t.Errorf("fs_base is %s, the clock has %s", got, want)
		}
		if got := session.Value(session.Find(steps, last)); got == "" || got == "0" {
			t.Errorf("after continue the last tick has the number %q", got)
		}
		if out := session.Find(steps, inside); !strings.HasPrefix(out, "runtime.") {
			t.Errorf("the program is in %q", out)
		}
		if bt := session.Find(steps, "bt"); !strings.Contains(bt, " in runtime.") {
			t.Errorf("its backtrace:\n%s", bt)
		}
		list := session.Find(steps, "info threads")
		if got := strings.Count(list, fmt.Sprintf("Thread %d.", pid)); got != threads {
			t.Errorf("%d threads, /proc had %d:\n%s", got, threads, list)
		}
		if got := strings.Count(list, "Thread 1."); got < len(h.guest.Facts.Threads)/2 {
			t.Errorf("with a program attached, the kernel's threads are missing: %d", got)
		}
		if out := session.Find(steps, "x/s linux_banner"); !strings.Contains(out, "Linux version "+h.guest.Facts.Release) {
			t.Errorf("with a program attached, the kernel's banner is %q", out)
		}
		if out := session.Find(steps, "info os processes"); !strings.Contains(out, fmt.Sprintf("\n%-10d root", pid)) {
			t.Errorf("info os processes:\n%s", out)
		}
	})
}

// TestProgramMapsAndCore checks that the mappings of a process are within those of /proc, and that
// a core dump of it has its memory and registers.
func TestProgramMapsAndCore(t *testing.T) {
	onTwo(t, func(t *testing.T, h *host) {
		pid, threads := h.process(t, "clock")
		core := filepath.Join(t.TempDir(), "core")
		const now, pc = "p 'main.UnixTimeNow'", "p/x $pc"
		steps, err := session.GDB(limited(t, 3*time.Minute), h.guest.ClockELF(), "target extended-remote "+h.stub(t),
			fmt.Sprintf("attach %d", pid), pc, "info proc mappings", "info os", "gcore "+core)
		if err != nil {
			t.Fatal(err)
		}
		if out := session.Find(steps, "info os"); !strings.Contains(out, "processes") {
			t.Errorf("info os with a program attached: %q", out)
		}
		h.checkMappings(t, session.Find(steps, "info proc mappings"))
		after, err := session.GDB(limited(t, time.Minute), h.guest.ClockELF(), "core-file "+core, now, pc, "info threads")
		if err != nil {
			t.Fatal(err)
		}
		if got := session.Value(session.Find(after, now)); got != fmt.Sprint(h.guest.Facts.LastClock) {
			t.Errorf("in the core dump the clock shows %q, want %d", got, h.guest.Facts.LastClock)
		}
		if got, want := session.Value(session.Find(after, pc)), session.Value(session.Find(steps, pc)); got != want || got == "" {
			t.Errorf("the core dump has the PC %q, want %q", got, want)
		}
		if got := strings.Count(session.Find(after, "info threads"), "LWP "); got != threads {
			t.Errorf("the core dump has %d threads, /proc had %d", got, threads)
		}
	})
}

// Test32BitProgram attaches gdb to a 32-bit process as a second inferior, and compares what it and
// a core dump show with the source of the program.
func Test32BitProgram(t *testing.T) {
	onTwo(t, func(t *testing.T, h *host) {
		pid, _ := h.process(t, "compat")
		core := filepath.Join(t.TempDir(), "core")
		const bt, number, call, arch = "bt", "p/x known.number", "p (int)$orig_eax", "show architecture"
		views := []string{bt, number, "p/x known.wide", "p sizeof(known)", "x/2xb $pc-2"}
		for name := range guest.CompatRegisters() {
			views = append(views, "p/x $"+name)
		}
		commands := append([]string{"target extended-remote " + h.unaided(t), "attach 1", "add-inferior", "inferior 2",
			"file " + h.guest.CompatELF(), fmt.Sprintf("attach %d", pid), arch, call, "info auxv"}, views...)
		commands = append(commands, "gcore "+core, "inferior 1", arch+" ", "x/s linux_banner")
		steps, err := session.GDB(limited(t, 3*time.Minute), "", commands...)
		if err != nil {
			t.Fatal(err)
		}
		after, err := session.GDB(limited(t, time.Minute), h.guest.CompatELF(), append([]string{"core-file " + core}, views...)...)
		if err != nil {
			t.Fatal(err)
		}
		for where, steps := range map[string][]session.Step{"attached": steps, "core dump": after} {
			if got := session.PrintedByGDB(session.Find(steps, bt)); !slices.Equal(got, []string{"inner", "middle", "outer", "_start"}) {
				t.Errorf("%s: the callers are %q:\n%s", where, got, session.Find(steps, bt))
			}
			want := map[string]string{number: "0x3200c0de", "p/x known.wide": "0x32", "p sizeof(known)": "8"}
			for name, v := range guest.CompatRegisters() {
				want["p/x $"+name] = fmt.Sprintf("%#x", v)
			}
			for command, want := range want {
				if got := session.Value(session.Find(steps, command)); got != want {
					t.Errorf("%s: %s is %q, want %s", where, command, got, want)
				}
			}
			if out := session.Find(steps, "x/2xb $pc-2"); !strings.HasSuffix(out, "0xcd\t0x80") { // int $0x80
				t.Errorf("%s: before the PC there is %q", where, out)
			}
		}
		if got := session.Value(session.Find(steps, call)); got != "29" { // pause
			t.Errorf("it is in system call %q", got)
		}
		if out := session.Find(steps, "info auxv"); !regexp.MustCompile(`(?m)^9 +AT_ENTRY .* ` + h.entry(t) + `$`).MatchString(out) {
			t.Errorf("info auxv does not show the entry:\n%s", out)
		}
		if out := session.Find(steps, arch); !strings.Contains(out, `"i386"`) {
			t.Errorf("the program: %q", out)
		}
		if out := session.Find(steps, arch+" "); !strings.Contains(out, `"i386:x86-64"`) {
			t.Errorf("the kernel as the other inferior: %q", out)
		}
		if out := session.Find(steps, "x/s linux_banner"); !strings.Contains(out, "Linux version "+h.guest.Facts.Release) {
			t.Errorf("with a program attached, the kernel's banner is %q", out)
		}
	})
}

// entry returns the entry point of the 32-bit program as gdb prints it.
func (h *host) entry(t *testing.T) string {
	t.Helper()
	f, err := elf.Open(h.guest.CompatELF())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return fmt.Sprintf("%#x", f.Entry)
}

// checkMappings compares gdb's list with /proc. It lists the resident parts of a mapping.
func (h *host) checkMappings(t *testing.T, listed string) {
	t.Helper()
	type mapping struct {
		first, end uint64
		rights     string
	}
	var all []mapping
	for line := range strings.Lines(h.guest.Facts.ClockMaps) {
		var m mapping
		if _, err := fmt.Sscanf(line, "%x-%x %s", &m.first, &m.end, &m.rights); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if n := len(all); n > 0 && all[n-1].end == m.first && all[n-1].rights == m.rights {
			all[n-1].end = m.end // page tables do not distinguish mappings with and without a file
			continue
		}
		all = append(all, m)
	}
	found := 0
	for line := range strings.Lines(listed) {
		var m mapping
		var size, offset uint64
		if n, _ := fmt.Sscanf(line, "%v %v %v %v %s", &m.first, &m.end, &size, &offset, &m.rights); n < 5 {
			continue
		}
		found++
		within := slices.ContainsFunc(all, func(a mapping) bool {
			return a.first <= m.first && m.end <= a.end && a.rights[2] == m.rights[2] && (a.rights[1] == 'w' || m.rights[1] == '-')
		})
		if !within || size != m.end-m.first {
			t.Errorf("/proc had no such mapping: %s", line)
		}
	}
	if found < len(all)/2 {
		t.Errorf("%d mappings of those that /proc had:\n%s\n%s", found, listed, h.guest.Facts.ClockMaps)
	}
}

// process returns the PID of a process in the guest's list, and its number of threads.
func (h *host) process(t *testing.T, comm string) (pid, threads int) {
	t.Helper()
	for _, thread := range h.guest.Facts.Threads {
		if thread.Comm == comm && thread.PID == thread.TID {
			pid = thread.PID
		}
	}
	for _, thread := range h.guest.Facts.Threads {
		if thread.PID == pid {
			threads++
		}
	}
	if pid == 0 {
		t.Fatalf("the guest had no process %s", comm)
	}
	return pid, threads
}

// spinnerAsProgram attaches to the spinning process, whose registers are known.
func spinnerAsProgram(t *testing.T, h *host) {
	if h.config.Other != "user" {
		t.Skip("no spinner")
	}
	pid, _ := h.process(t, "spinner")
	const place = "p (long)$pc == (long)&spinning"
	commands := []string{"target extended-remote " + h.stub(t), fmt.Sprintf("attach %d", pid), place}
	for name := range guest.SpinnerRegisters() {
		commands = append(commands, "p/x $"+name)
	}
	steps, err := session.GDB(limited(t, time.Minute), h.guest.ExtrasELF(), commands...)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range guest.SpinnerRegisters() {
		if got := session.Value(session.Find(steps, "p/x $"+name)); got != fmt.Sprintf("%#x", want) {
			t.Errorf("%s is %s, want %#x", name, got, want)
		}
	}
	if out := session.Value(session.Find(steps, place)); out != "1" {
		t.Errorf("its pc is not in its loop: %q", out)
	}
}
