package e2e

import (
	"debug/elf"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/test/guest"
	"physgdb/test/session"
	"physgdb/test/verify"
)

// deaths are machines that died in other ways than the [hosts], with different work on the other
// CPU, and of other sizes. Each is used by one test only.
var deaths = []*host{
	{name: "6.1-oops", config: guest.Config{Release: "6.1", Panic: "oops", LA57: true, PTI: true}},
	{name: "6.1-bug", config: guest.Config{Release: "6.1", Panic: "bug"}},
	{name: "6.1-hung", config: guest.Config{Release: "6.1", Panic: "hung", PTI: true}},
	{name: "6.1-irq", config: guest.Config{Release: "6.1", Panic: "irq"}},
	{name: "6.1-nmi", config: guest.Config{Release: "6.1", Panic: "nmi", LA57: true}},
	{name: "6.1-user-6GB", config: guest.Config{Release: "6.1", Other: "user", MemoryMiB: 6144, PTI: true}},
	{name: "6.12-oops", config: guest.Config{Release: "6.12", Panic: "oops", PTI: true}},
	{name: "6.12-bug", config: guest.Config{Release: "6.12", Panic: "bug", LA57: true}},
	{name: "6.12-hung", config: guest.Config{Release: "6.12", Panic: "hung"}},
	{name: "6.12-irq-user", config: guest.Config{Release: "6.12", Panic: "irq-user", LA57: true, PTI: true}},
	{name: "6.12-nmi", config: guest.Config{Release: "6.12", Panic: "nmi"}},
	{name: "6.12-user-6GB", config: guest.Config{Release: "6.12", Other: "user", MemoryMiB: 6144, LA57: true}},
}

// TestPanickedGuests checks the commands on the RAM of each machine, and on the vmlinux of some,
// without a CR3, a notice or a map.
func TestPanickedGuests(t *testing.T) {
	each(t, slices.Concat(hosts, deaths), func(t *testing.T, h *host) {
		if slices.Contains(deaths, h) {
			defer h.close()
		}
		for _, sub := range []struct {
			name string
			test func(*testing.T, *host)
		}{
			{"the kernel is found", kernelIsFound},
			{"ps", psEqualsProc},
			{"the panic's backtrace", panicBacktrace},
			{"the registers of an oops", oopsRegisters},
			{"the other CPU", otherCPU},
			{"every task's backtrace", everyBacktrace},
			{"dmesg", dmesgEqualsSerial},
			{"modules", modulesEqualSys},
			{"gdb", gdbSeesTasks},
			{"the spinner as a program", spinnerAsProgram},
			{"symbols of a module in gdb", moduleSymbols},
			{"gdb without a vmlinux", withoutVmlinux},
			{"lldb without a vmlinux", lldbWithoutVmlinux},
		} {
			t.Run(sub.name, func(t *testing.T) { sub.test(t, h) })
		}
	})
}

// explain runs a command on a machine's RAM alone or, on the hosts, on its RAM and vmlinux.
func (h *host) explain(t testing.TB, command string, args ...string) *session.Result {
	t.Helper()
	from := "ram"
	if slices.Contains(hosts, h) {
		from = h.guest.Kernel.Vmlinux
	}
	return run(t, append([]string{command, h.guest.Source(), "--symbols", from}, args...)...)
}

// lines decodes JSON lines.
func lines[T any](t testing.TB, out string) []T {
	t.Helper()
	all, err := verify.JSONLines[T](out)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// row returns the value of a row of `info`.
func row(t testing.TB, info, name string) string {
	t.Helper()
	if text := verify.Row(info, name); text != "" {
		return text
	}
	t.Fatalf("no %q in\n%s", name, info)
	return ""
}

var readsText = regexp.MustCompile(`in (\d+) bridge reads`)

// reads returns the number of bridge reads in the row "found by" of `info`.
func reads(t testing.TB, info string) int {
	t.Helper()
	m := readsText.FindStringSubmatch(row(t, info, "found by"))
	if m == nil {
		t.Fatalf("no number of reads in %q", row(t, info, "found by"))
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// kernelIsFound compares the location of the kernel with /proc/iomem, /proc/kallsyms and QEMU.
func kernelIsFound(t *testing.T, h *host) {
	info := h.explain(t, "info").Stdout
	facts := &h.guest.Facts
	text := facts.Kallsyms["_text"]
	textPhys := kernelCode(t, facts.IOMem)
	levels := 4
	if h.config.LA57 {
		levels = 5
	}
	for name, want := range map[string]string{
		"found by":  "real-mode trampoline, ",
		"_text":     fmt.Sprintf("%#x, at phys %#x", text, textPhys),
		"slide":     fmt.Sprintf("%#x", facts.Slide),
		"phys_base": fmt.Sprintf("%#x", int64(textPhys)-int64(text-0xffffffff80000000)),
		"died of":   "panicked: " + strings.TrimSpace(facts.PanicMessage),
		"CR3":       fmt.Sprintf(", %d-level paging", levels),
	} {
		if got := row(t, info, name); !strings.Contains(got, want) {
			t.Errorf("%s is %q, want %q in it", name, got, want)
		}
	}
	if got, want := row(t, info, "CPUs"), facts.CPUs; strings.Count(got, ",")+1 != want {
		t.Errorf("CPUs are %q, want %d", got, want)
	}
	byTrampoline := reads(t, info)
	var cr3 uint64
	for cpu := range facts.CPUs {
		cr3 = h.registers(t, cpu)["cr3"]
		fromCR3 := run(t, "info", h.guest.Source(), "--vmlinux", h.guest.Kernel.Vmlinux, "--cr3", fmt.Sprintf("%#x", cr3)).Stdout
		if n := reads(t, fromCR3); n > 10 || byTrampoline > 200 {
			t.Errorf("%d bridge reads by the trampoline, want at most 200; %d from CR3, want at most 10", byTrampoline, n)
		} else {
			t.Logf("%d bridge reads by the trampoline, %d from the CR3 of CPU %d", byTrampoline, n, cpu)
		}
	}
	h.translatesAsQEMU(t)
}

// kernelCode returns the physical address of the kernel's code in /proc/iomem.
func kernelCode(t testing.TB, iomem string) uint64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^\s*([0-9a-f]+)-[0-9a-f]+ : Kernel code`).FindStringSubmatch(iomem)
	if m == nil {
		t.Fatalf("no kernel code in\n%s", iomem)
	}
	at, _ := strconv.ParseUint(m[1], 16, 64)
	return at
}

// registers returns a CPU's registers from QEMU.
func (h *host) registers(t testing.TB, cpu int) map[string]uint64 {
	t.Helper()
	regs, err := h.guest.Registers(t.Context(), cpu)
	if err != nil {
		t.Fatal(err)
	}
	return regs
}

// translatesAsQEMU compares translations under the root that physgdb found with QEMU's, which use
// the CPU's own CR3: the kernel's half is the same.
func (h *host) translatesAsQEMU(t *testing.T) {
	t.Helper()
	var args, want []string
	for _, name := range sampleSymbols(h, 20) {
		va := fmt.Sprintf("%#x", h.guest.Facts.Kallsyms[name])
		said, err := h.guest.HMP(t.Context(), "gva2gpa "+va)
		if err != nil {
			t.Fatal(err)
		}
		if gpa, mapped := strings.CutPrefix(strings.TrimSpace(said), "gpa: "); mapped { // otherwise init memory, which was freed
			args, want = append(args, va), append(want, gpa)
		}
	}
	out := h.explain(t, "vtop", args...).Stdout
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^  phys  (0x[0-9a-f]+),`).FindAllStringSubmatch(out, -1) {
		got = append(got, m[1])
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
		t.Errorf("(-QEMU +vtop):\n%s", diff)
	}
}

// psEqualsProc compares ps with what the guest listed just before its panic.
func psEqualsProc(t *testing.T, h *host) {
	if err := verify.Tasks(&h.guest.Facts, h.explain(t, "ps", "--json").Stdout); err != nil {
		t.Error(err)
	}
}

// callTrace returns the functions of the kernel's own trace of the panic.
func (h *host) callTrace() []string { return verify.CallTrace(&h.guest.Facts) }

// panicBacktrace compares the backtrace of the task that panicked with the kernel's own Call Trace.
func panicBacktrace(t *testing.T, h *host) {
	if err := verify.PanicBacktrace(&h.guest.Facts, h.explain(t, "bt", "--json").Stdout); err != nil {
		t.Error(err)
	}
}

// oopsRegisters compares the registers that gdb shows after an oops with those that the kernel
// printed.
func oopsRegisters(t *testing.T, h *host) {
	printed := h.guest.Facts.OopsRegisters
	if printed == nil {
		t.Skip("the panic is not from an oops")
	}
	names := []string{"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
		"r15", "eflags", "cr3", "fs_base", "gs_base"}
	var commands []string
	for _, name := range names {
		commands = append(commands, "p/x $"+name)
	}
	steps := gdb(t, "", h.stub(t), commands...)
	for i, name := range names {
		got, err := strconv.ParseUint(strings.TrimPrefix(session.Value(steps[i+1].Output), "0x"), 16, 64)
		want := printed[name]
		if name == "eflags" {
			got, want = got&0xffffffff, want&0xffffffff
		}
		if name == "cr3" { // without its PCID; of a KPTI pair the kernel's half
			got, want = got&^0x1fff, want&^0x1fff
		}
		if err != nil || got != want {
			t.Errorf("%s is %#x (%q), the kernel printed %#x", name, got, steps[i+1].Output, want)
		}
	}
}

// stub serves a machine with only its RAM and its vmlinux.
func (h *host) stub(t testing.TB, args ...string) string {
	t.Helper()
	return serve(t, append([]string{h.guest.Source(), "--vmlinux", h.guest.Kernel.Vmlinux}, args...)...)
}

// otherCPU compares the locations at which the CPUs rest with QEMU's registers, and the code that
// they had been running with the configuration.
func otherCPU(t *testing.T, h *host) {
	traces := lines[verify.Trace](t, h.explain(t, "bt", "--json", "cpus").Stdout)
	if len(traces) != h.guest.Facts.CPUs {
		t.Fatalf("%d traces of %d CPUs", len(traces), h.guest.Facts.CPUs)
	}
	for i := range traces {
		tr := &traces[i]
		if tr.Lost != "" {
			t.Errorf("CPU %d: %s\n%q", tr.CPU, tr.Lost, tr.Functions())
		}
		if h.config.Panic == "irq-user" && tr.CPU == h.guest.Facts.PanicCPU {
			h.spun(t, tr)
		}
		if tr.CPU == h.guest.Facts.PanicCPU || len(tr.Frames) == 0 {
			continue
		}
		qemu := h.registers(t, tr.CPU)
		if want := fmt.Sprintf("%#x", qemu["rsp"]); tr.Frames[0].SP != want {
			t.Errorf("CPU %d: RSP %s, QEMU has %s", tr.CPU, tr.Frames[0].SP, want)
		}
		if at, _, ok := h.vmlinux.At(qemu["rip"] - h.slide(t)); !ok || at.Name != tr.Frames[0].Function {
			t.Errorf("CPU %d rests in %s, QEMU's RIP is in %s", tr.CPU, tr.Frames[0].Function, at.Name)
		}
		h.wasDoing(t, tr)
	}
}

// wasDoing checks the interrupted code of a stopped CPU.
func (h *host) wasDoing(t *testing.T, tr *verify.Trace) {
	t.Helper()
	names := strings.Join(tr.Functions(), " ")
	switch {
	case h.config.Panic == "nmi":
		if !strings.Contains(names, "nmi") || !strings.Contains(names, "[trouble]") || !strings.HasSuffix(tr.Comm, "deaf") {
			t.Errorf("CPU %d ran %s: %s", tr.CPU, tr.Comm, names)
		}
	case !strings.Contains(names, "sysvec_reboot"):
		t.Errorf("CPU %d was not stopped: %s", tr.CPU, names)
	case strings.HasPrefix(names[strings.LastIndex(names, " ")+1:], "ret_from_fork"):
		t.Logf("CPU %d was running the kernel thread %s: %s", tr.CPU, tr.Comm, names)
	case tr.Comm == "init" && strings.HasSuffix(names, " entry_SYSCALL_64_after_hwframe"):
		t.Logf("CPU %d was running another thread of the process that panicked: %s", tr.CPU, names)
	case h.config.Other == "user":
		h.spun(t, tr)
	case !strings.Contains(names, " do_idle ") || !strings.HasPrefix(tr.Comm, "swapper/"):
		t.Errorf("CPU %d ran %s: %s", tr.CPU, tr.Comm, names)
	}
}

// spun checks that a CPU has the user registers of the spinning process.
func (h *host) spun(t *testing.T, tr *verify.Trace) {
	t.Helper()
	if tr.User == nil || tr.Comm != "spinner" {
		t.Fatalf("CPU %d ran %s: %s", tr.CPU, tr.Comm, tr.Functions())
	}
	for name, want := range guest.SpinnerRegisters() {
		if got := tr.User.Registers[name]; got != fmt.Sprintf("%#x", want) {
			t.Errorf("CPU %d: spinner had %s = %#x, it is %s", tr.CPU, name, want, got)
		}
	}
}

// everyBacktrace checks that the backtrace of every task ends at its first function or at its user
// registers.
func everyBacktrace(t *testing.T, h *host) {
	traces := lines[verify.Trace](t, h.explain(t, "bt", "--json", "--no-lines", "all").Stdout)
	clean := 0
	for i := range traces {
		tr := &traces[i]
		names := tr.Functions()
		switch last := names[len(names)-1]; {
		case tr.Lost != "":
			t.Errorf("%d %s: %s: %s", tr.TID, tr.Comm, tr.Lost, names)
		case tr.User == nil && !isEntry(last):
			t.Errorf("%d %s begins at %s", tr.TID, tr.Comm, last)
		default:
			clean++
		}
	}
	if len(traces) < len(h.guest.Facts.Threads) {
		t.Errorf("%d traces for %d threads", len(traces), len(h.guest.Facts.Threads))
	}
	t.Logf("%d of %d backtraces end cleanly", clean, len(traces))
}

// isEntry reports whether a function is the first of a task.
func isEntry(name string) bool {
	return strings.HasPrefix(name, "ret_from_fork") || strings.HasPrefix(name, "secondary_startup_64") ||
		strings.HasPrefix(name, "common_startup_64")
}

// dmesgEqualsSerial compares dmesg with what the kernel printed on its serial console.
func dmesgEqualsSerial(t *testing.T, h *host) {
	printed, err := h.guest.KernelLog()
	if err != nil {
		t.Fatal(err)
	}
	if err := verify.Dmesg(printed, h.explain(t, "dmesg").Stdout); err != nil {
		t.Error(err)
	}
}

// modulesEqualSys compares the modules with /proc/modules and /sys/module.
func modulesEqualSys(t *testing.T, h *host) {
	if err := verify.Modules(&h.guest.Facts, h.explain(t, "modules", "--json").Stdout); err != nil {
		t.Error(err)
	}
}

// gdbSeesTasks checks that gdb lists every task as a thread and unwinds its stack.
func gdbSeesTasks(t *testing.T, h *host) {
	address := h.stub(t, "--modules", moduleDir(h.guest.Kernel.Module), "--modules", moduleDir(h.guest.Kernel.Trouble),
		"--modules", moduleDir(h.guest.Kernel.Drivers[0]))
	steps := gdb(t, h.guest.Kernel.Vmlinux, address, "set print frame-arguments none", "bt", "info threads", "thread apply all -q -s bt", "info os processes",
		"info os files", "info sharedlibrary")
	h.gdbFollows(t, session.Find(steps, "bt"))
	threads := session.Find(steps, "info threads")
	rows := regexp.MustCompile(`(?m)^(\*?) +(\d+) +Thread 1\.(\d+) "([^"]*)" \(([^)]*)`).FindAllStringSubmatch(threads, -1)
	tasks := lines[verify.Task](t, h.explain(t, "ps", "--json").Stdout)
	if len(rows) != len(tasks) {
		t.Errorf("%d threads for %d tasks:\n%s", len(rows), len(tasks), threads)
	}
	byID := map[string]string{}
	for _, r := range rows {
		byID[r[3]] = r[4]
	}
	for _, p := range tasks {
		if p.Kind != "idle" && byID[strconv.Itoa(p.TID)] != p.Comm {
			t.Errorf("thread %d is %q, want %q", p.TID, byID[strconv.Itoa(p.TID)], p.Comm)
		}
	}
	if len(rows) > 0 {
		first := rows[0]
		if first[1] != "*" || !strings.HasPrefix(first[5], "panicked: "+strings.TrimSpace(h.guest.Facts.PanicMessage)) {
			t.Errorf("the first thread is not the one that panicked: %q", first[0])
		}
	}
	h.gdbReachesEntries(t, session.Find(steps, "thread apply all -q -s bt"), len(tasks))
	if out := session.Find(steps, "info os processes"); !strings.Contains(out, "clock") || !strings.Contains(out, "kthreadd") {
		t.Errorf("info os processes:\n%s", out)
	}
	files := map[int]string{}
	row := regexp.MustCompile(fmt.Sprintf(`(?m)^%d +clock +(\d+) +(.*?) *$`, h.guest.Facts.ClockPID))
	for _, m := range row.FindAllStringSubmatch(session.Find(steps, "info os files"), -1) {
		fd, _ := strconv.Atoi(m[1])
		files[fd] = m[2]
	}
	if diff := cmp.Diff(h.guest.Facts.ClockFiles, files); diff != "" {
		t.Errorf("open files of the clock (-/proc +info os files):\n%s", diff)
	}
}

func moduleDir(path string) string { return path[:strings.LastIndex(path, "/")] }

// gdbFollows compares gdb's backtrace with the kernel's own trace, as far as the CFI of vmlinux and
// of the modules reaches: to the entry from user space, or to that of an interrupt.
func (h *host) gdbFollows(t *testing.T, bt string) {
	t.Helper()
	want := h.callTrace()
	for i, name := range want {
		if function, module, ok := strings.Cut(name, " ["); ok && module != "" { // gdb prints the name of the function in the source
			want[i] = strings.TrimSuffix(function, ".cold")
		}
	}
	got := h.gdbTrace(t, bt)
	n := min(len(want), len(got))
	if diff := cmp.Diff(want[:n], got[:n]); diff != "" {
		t.Errorf("(-log +gdb):\n%s\n%s", diff, bt)
	}
	if n == 0 || n < len(want) && !strings.HasPrefix(want[n-1], "sysvec_") {
		t.Errorf("gdb ends at frame %d of %q:\n%s", n, want, bt)
	}
}

// gdbTrace names the functions of a gdb backtrace: those of the kernel by its symbol table, those
// of modules as gdb does. Inlined ones, which have no address of their own, are omitted, as are the
// frames that gdb adds beyond the entry.
func (h *host) gdbTrace(t *testing.T, bt string) []string {
	t.Helper()
	var names []string
	frames := verify.GDBFrame.FindAllStringSubmatch(bt, -1)
	for i, f := range frames {
		addr, _ := strconv.ParseUint(f[2], 16, 64)
		switch s, _, ok := h.vmlinux.At(addr - 1 - h.slide(t)); {
		case addr == 0 && i == 0: // frame 0 is at the start of a line
			names = append(names, f[3])
		case addr == 0:
			// gdb prints the address with the innermost function; the functions it was inlined into
			// follow.
		case i > 0 && ok && addr < 0xffffffffc0000000:
			names = append(names, s.Name)
			if strings.HasPrefix(s.Name, "entry_") {
				return names
			}
		case f[3] == "??":
			return names
		default:
			names = append(names, f[3])
		}
	}
	return names
}

// gdbReachesEntries checks that gdb's backtrace of every task reaches its entry function.
func (h *host) gdbReachesEntries(t *testing.T, traces string, tasks int) {
	t.Helper()
	reached, stopped := 0, 0
	for _, bt := range strings.Split(traces, "\n#0 ") {
		switch {
		case regexp.MustCompile(`\bin (ret_from_fork|entry_|secondary_startup_64|common_startup_64|asm_)`).MatchString(bt):
			reached++
		case strings.Contains(bt, "sysvec_"): // stopped on another stack, which gdb cannot leave
			stopped++
		default:
			t.Logf("not reached:\n%s", bt)
		}
	}
	t.Logf("in gdb %d of %d tasks reach their entry, and %d the interrupt that stopped their CPU", reached, tasks, stopped)
	if reached+stopped < tasks {
		t.Errorf("in gdb %d tasks reach their entry, of %d", reached+stopped, tasks)
	}
}

// moduleSymbols compares the addresses of the variables and functions of physgdb.ko in gdb with
// those from its file and /sys/module.
func moduleSymbols(t *testing.T, h *host) {
	f, err := elf.Open(h.guest.Kernel.Module)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	sections := h.guest.Facts.ModuleSections["physgdb"]
	var names, commands []string
	want := map[string]uint64{}
	for _, s := range all {
		kind := elf.ST_TYPE(s.Info)
		if kind != elf.STT_OBJECT && kind != elf.STT_FUNC || strings.ContainsAny(s.Name, ".") || strings.HasPrefix(s.Name, "__") ||
			int(s.Section) >= len(f.Sections) {
			continue
		}
		if _, another := h.vmlinux.Lookup(s.Name); another {
			continue
		}
		section := f.Sections[s.Section]
		at, loaded := sections[section.Name]
		if !loaded || strings.HasPrefix(section.Name, ".init") || strings.HasPrefix(section.Name, ".exit") || want[s.Name] != 0 {
			continue
		}
		names = append(names, s.Name)
		commands = append(commands, "output/x (unsigned long)&'physgdb.c'::"+s.Name)
		want[s.Name] = at + s.Value // in relocatable files, values are relative to the section
	}
	steps := gdb(t, h.guest.Kernel.Vmlinux, h.stub(t, "--modules", moduleDir(h.guest.Kernel.Module)), commands...)
	for i, name := range names {
		if got := steps[i+2].Output; got != fmt.Sprintf("%#x", want[name]) {
			t.Errorf("%s: gdb prints %q, it is at %#x", name, got, want[name])
		}
	}
	if len(names) < 10 {
		t.Errorf("only %d symbols: %q", len(names), names)
	}
	t.Logf("%d symbols", len(names))
}
