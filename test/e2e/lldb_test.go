package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"physgdb/symbols/elffile"
	"physgdb/test/session"
)

// plainVmlinux returns the file for lldb 14 on a machine: its vmlinux, without debug information if
// the cold part of a function is on the stack of the panic. lldb 14 to 19 disassemble everything
// between the parts of such a function, megabytes, for minutes.
func (h *host) plainVmlinux(t *testing.T) string {
	t.Helper()
	isCold := func(name string) bool { return strings.HasSuffix(name, ".cold") }
	if !slices.ContainsFunc(h.guest.Facts.CallTrace, isCold) {
		return h.guest.Kernel.Vmlinux
	}
	plain := filepath.Join(h.dir, "vmlinux-plain")
	if _, err := os.Stat(plain); !errors.Is(err, os.ErrNotExist) {
		return plain
	}
	out, err := exec.CommandContext(limited(t, time.Minute), "objcopy", "--strip-debug", "--keep-section=.debug_frame",
		h.guest.Kernel.Vmlinux, plain).CombinedOutput()
	if err != nil {
		t.Fatalf("objcopy: %v\n%s", err, out)
	}
	return plain
}

// startLLDB starts an lldb on a stub, with a file or "".
func startLLDB(t *testing.T, file, address string) *lldb {
	t.Helper()
	l, err := session.StartLLDB(limited(t, 5*time.Minute), file)
	if err != nil {
		t.Fatal(err)
	}
	d := &lldb{LLDB: l, t: t, connect: "gdb-remote " + address}
	d.wants(d.connect, "stop reason = signal SIGTRAP")
	return d
}

// lldb is an lldb that is connected to a stub.
type lldb struct {
	*session.LLDB
	t       *testing.T
	connect string // the command
}

// says types a command and returns the output.
func (l *lldb) says(command string) string {
	l.t.Helper()
	s, err := l.Type(command)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Logf("%-60s %5d ms  %.120s", command, s.Took.Milliseconds(), strings.ReplaceAll(s.Output, "\n", " / "))
	return s.Output
}

// wants types a command and checks that the output contains want.
func (l *lldb) wants(command, want string) {
	l.t.Helper()
	if out := l.says(command); !strings.Contains(out, want) {
		l.t.Errorf("%s: want %q in\n%.2000s", command, want, out)
	}
}

func (l *lldb) close() {
	l.t.Helper()
	if err := l.Close(); err != nil {
		l.t.Error(err)
	}
}

// TestLLDB compares what lldb shows of a machine with what the machine reported, and with QEMU.
func TestLLDB(t *testing.T) {
	onTwo(t, func(t *testing.T, h *host) {
		l := startLLDB(t, h.plainVmlinux(t), h.stub(t))
		defer l.close()
		facts := &h.guest.Facts

		bt := l.says("bt")
		got := slices.Compact(session.Trace(bt, h.vmlinux, h.slide(t))) // inlined functions are in the same function
		if diff := cmp.Diff(session.TrimTrace(facts.CallTrace), got); diff != "" {
			t.Errorf("(-log +lldb):\n%s\n%s", diff, bt)
		}
		l.wants("image list -o", fmt.Sprintf("0x%016x", facts.Slide))
		for _, name := range sampleSymbols(h, 10) {
			out := l.says(fmt.Sprintf("image lookup -a %#x", facts.Kallsyms[name]))
			if m := lookedUp.FindStringSubmatch(out); m == nil || !sameAddress(h, name, m[1]) {
				t.Errorf("%s at %#x: lldb prints %q", name, facts.Kallsyms[name], out)
			}
		}

		cr3 := shown(t, l.says("register read cr3"))
		if qemu := h.registers(t, facts.PanicCPU)["cr3"]; cr3&^0x1fff != qemu&^0x1fff {
			t.Errorf("cr3 is %#x, QEMU has %#x", cr3, qemu)
		}
		l.wants("register read --all", "k_gs_base")
		if out := l.says("register read rax"); !strings.Contains(out, "unavailable") {
			t.Errorf("rax at panic's call is not known, lldb prints %q", out)
		}

		h.lldbReads(l)
		h.lldbLists(l)
	})
}

// lookedUp matches the symbol at an address.
var lookedUp = regexp.MustCompile("Summary: [^`]*`([\\w.]+)(?: at |\n|$)")

// shown parses the value that lldb shows.
func shown(t *testing.T, out string) uint64 {
	t.Helper()
	m := regexp.MustCompile(`(?:=|:) (0x[0-9a-f]+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no value in %q", out)
	}
	n, _ := strconv.ParseUint(m[1], 0, 64)
	return n
}

// lldbReads reads memory with every command for it.
func (h *host) lldbReads(l *lldb) {
	l.t.Helper()
	at := h.guest.Facts.Kallsyms
	read := fmt.Sprintf("memory read --size 8 --format x --count 1 %#x", at["jiffies"])
	if got, want := fmt.Sprintf("%#x", shown(l.t, l.says(read))), h.qemuWord(l.t, at["jiffies"]); got != want {
		l.t.Errorf("jiffies is %s, QEMU has %s", got, want)
	}
	l.wants(fmt.Sprintf("x/s %#x", at["linux_banner"]), `"Linux version `+h.guest.Facts.Release)
	page := at["linux_banner"] &^ 0xfff
	l.wants(fmt.Sprintf(`memory find -s "Linux version " -- %#x %#x`, page-0x10000, page+0x10000),
		fmt.Sprintf("found at location: %#x", at["linux_banner"]))
	l.wants("memory read 0xffffffff00000000", "memory read failed for 0xffffffff00000000")
	l.wants("memory read 0x1000000000000000", "memory read failed for 0x1000000000000000")
	l.wants("process plugin packet monitor vtop linux_banner", "phys ")
}

// threadLine matches a thread in lldb's list.
var threadLine = regexp.MustCompile(`thread #\d+: tid = (0x[0-9a-f]+), .*name = '([^']*)'`)

// lldbLists compares lldb's threads with /proc, and checks where their backtraces end.
func (h *host) lldbLists(l *lldb) {
	l.t.Helper()
	names := map[int]string{}
	for _, m := range threadLine.FindAllStringSubmatch(l.says("thread list"), -1) {
		tid, _ := strconv.ParseInt(m[1], 0, 64)
		names[int(tid)] = m[2]
	}
	for _, want := range h.guest.Facts.Threads {
		if strings.HasPrefix(want.Comm, "kworker/") { // those start and exit at any time
			continue
		}
		if got := names[want.TID]; got != want.Comm {
			l.t.Errorf("thread %d is %q, want %q", want.TID, got, want.Comm)
		}
	}
	ends := map[string]int{}
	for _, bt := range regexp.MustCompile(`(?m)^[* ] thread #`).Split(l.says("thread backtrace all"), -1)[1:] {
		ends[h.endOf(bt)]++
	}
	l.t.Logf("%d threads; their backtraces end in %v", len(names), ends)
	for end, n := range ends {
		// lldb does not unwind beyond an interrupt: assembly in sysvec_reboot switches the stack,
		// which the DWARF does not describe.
		if stopped := strings.Contains(end, "reboot") && n < h.guest.Facts.CPUs; end != entry && !stopped {
			l.t.Errorf("%d backtraces end in %s", n, end)
		}
	}
	if ends[entry] < len(h.guest.Facts.Threads)/2 {
		l.t.Errorf("%d backtraces are complete", ends[entry])
	}
}

// entry is the end of a complete backtrace: the first function of a task, or the entry from user
// space.
const entry = "the entry"

// endOf returns the function in which a backtrace ends.
func (h *host) endOf(bt string) string {
	last := "nothing"
	for _, addr := range session.Frames(bt) {
		if int64(addr) > 0 { // user space
			return entry
		}
		if s, _, ok := h.vmlinux.At(addr - 1 - h.guest.Facts.Slide); ok {
			last = s.Name
		}
		for _, start := range []string{"entry_", "asm_int80_emulation", "ret_from_fork", "secondary_startup", "common_startup", "start_kernel"} {
			if strings.HasPrefix(last, start) {
				return entry
			}
		}
	}
	return last
}

// TestLLDBActions types the commands for running programs, and checks that each is refused soon
// with a clear message, changes nothing, and returns to the prompt.
func TestLLDBActions(t *testing.T) {
	const cannotRun = "This machine is dead (panicked: sysrq triggered crash; task init"
	onTwo(t, func(t *testing.T, h *host) {
		l := startLLDB(t, h.plainVmlinux(t), serve(t, adapter(t, h), "--notify", h.notices, "--vmlinux", h.guest.Kernel.Vmlinux))
		defer l.close()
		nr := h.guest.Facts.Kallsyms["nr_cpu_ids"]
		check := fmt.Sprintf("memory read --size 4 --format x --count 1 %#x", nr)
		value := l.says(check)
		for _, a := range []struct{ command, want string }{
			{"continue", cannotRun},
			{"thread step-inst", cannotRun},
			{"thread step-over", cannotRun},
			{"process interrupt", "Process is not running"},
			{"breakpoint set -n vfs_read", "error: 1 sending the breakpoint request"},
			{"breakpoint delete -f", "removed"},
			{"watchpoint set expression -- " + fmt.Sprintf("%#x", nr), "Watchpoint creation failed"},
			{fmt.Sprintf("memory write %#x 7", nr), "memory write failed"},
			{"register write rax 7", "Failed to write register 'rax'"},
			{"register write cr3 0x5000", "Failed to write register 'cr3'"},
			{"expression int $five = 5; $five + 2", "= 7"},
			{"expression ((int (*)(void))vfs_read)()", "error:"},
			{"process plugin packet monitor nonsense", "try: monitor help"},
			{"detach", ""}, // lldb prints its message then or later
			{l.connect, "stop reason = signal SIGTRAP"},
			{"process kill", ""},
			{l.connect, "stop reason = signal SIGTRAP"},
		} {
			begin := time.Now()
			l.wants(a.command, a.want)
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("%s took %v", a.command, took)
			}
			if got := l.says(check); got != value && a.command != "detach" && a.command != "process kill" {
				t.Errorf("after %s: %q, want %q", a.command, got, value)
			}
		}
	})
}

// TestLLDBWithTypes evaluates expressions of the kernel's own types, where lldb 14 can load its
// vmlinux.
func TestLLDBWithTypes(t *testing.T) {
	on(t, func(t *testing.T, h *host) {
		if h.plainVmlinux(t) != h.guest.Kernel.Vmlinux {
			t.Skip("the panic went through a function with a cold part")
		}
		l := startLLDB(t, h.guest.Kernel.Vmlinux, h.stub(t))
		defer l.close()
		l.wants("p init_task.comm", `"swapper/0\0`)
		l.wants("p init_task.pid", "= 0")
		l.wants("p &init_task", fmt.Sprintf("%#x", h.guest.Facts.Kallsyms["init_task"]))
		l.wants("p ((struct task_struct *)init_task.tasks.next)", "struct task_struct *")
		l.wants("expression init_task.pid = 7", "error:")
		l.wants("p init_task.pid", "= 0")
		l.wants("expression (int)vfs_read(0, 0, 0, 0)", "error:")
		l.wants("image lookup -n vfs_read", "read_write.c:")
	})
}

// TestLLDBWithoutFile runs lldb without a vmlinux.
func TestLLDBWithoutFile(t *testing.T) {
	onTwo(t, func(t *testing.T, h *host) {
		l := startLLDB(t, "", h.stub(t))
		defer l.close()
		h.lldbReads(l)
		if rip := shown(t, l.says("register read rip")); !h.isIn("panic", rip) {
			t.Errorf("rip is %#x, which is not in panic", rip)
		}
		l.wants("thread list", "name = 'kthreadd'")
	})
}

func (h *host) isIn(function string, addr uint64) bool {
	s, _, ok := h.vmlinux.At(addr - h.guest.Facts.Slide)
	return ok && s.Name == function
}

// TestLLDBReadsProcess sets cr3 to that of a process and reads its memory.
func TestLLDBReadsProcess(t *testing.T) {
	onTwo(t, func(t *testing.T, h *host) {
		l := startLLDB(t, "", h.stub(t))
		defer l.close()
		l.says("settings set target.process.disable-memory-cache true")
		program, err := elffile.ReadTable(h.guest.ClockELF())
		if err != nil {
			t.Fatal(err)
		}
		last, _ := program.Lookup("main.UnixTimeNow")
		read := fmt.Sprintf("memory read --size 8 --format d --count 1 %#x", last.Addr)
		want := fmt.Sprintf(": %d", h.guest.Facts.LastClock)
		if out := l.says(read); strings.Contains(out, want) {
			t.Errorf("another process has the clock's memory: %q", out)
		}
		l.says(fmt.Sprintf("register write cr3 %#x", h.guest.Facts.ClockCR3))
		l.wants(read, want)
	})
}

// TestLLDBIsInterrupted sends Ctrl-C when no command is running.
func TestLLDBIsInterrupted(t *testing.T) {
	h := hosts[3].ready(t)
	l := startLLDB(t, h.plainVmlinux(t), h.stub(t))
	l.says("continue")
	if err := l.Interrupt(); err != nil {
		t.Fatal(err)
	}
	l.wants("register read cr3", "cr3 = 0x")
	l.wants("bt 2", "panic")
	_ = l.Close() // after an interrupt, lldb's exit status is not 0
}
