package kernels

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"physgdb/test/guest"
	"physgdb/test/guest/witness"
	"physgdb/test/session"
	"physgdb/test/verify"
)

// machine is a dead guest under test.
type machine struct {
	spec
	guest   *guest.Guest
	physgdb session.Physgdb
	dir     string // for files

	symbols verify.Symbols
	stacks  []witness.Stack
	traces  []verify.Trace // bt --json all
	gdb     []session.Step
}

// check is a column of the table.
type check struct {
	name string
	do   func(ctx context.Context, m *machine) error
}

var checks = []check{
	{"slide", checkSlide},
	{"ps", checkTasks},
	{"bt", checkBacktrace},
	{"stacks", checkStacks},
	{"dmesg", checkDmesg},
	{"modules", checkModules},
	{"kallsyms", checkKallsyms},
	{"types", checkTypes},
	{"gdb bt", checkGDBBacktrace},
	{"gdb all", checkGDBStacks},
	{"ptype", checkPtype},
	{"gdb modules", checkModuleSymbols},
	{"attach", checkAttach},
	{"lldb all", checkLLDB},
}

// errAbsent is the result of a check of something that the machine does not have.
var errAbsent = errors.New("not applicable")

// maxTime is the time limit of one command. Without load, each takes seconds.
const maxTime = 10 * time.Minute

// run runs a command of physgdb on the machine's memory alone and returns its output.
func (m *machine) run(ctx context.Context, command string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, maxTime, fmt.Errorf("physgdb %s took longer than %v", command, maxTime))
	defer cancel()
	r, err := m.physgdb.Run(ctx, append([]string{command, m.guest.Source(), "--symbols", "ram"}, args...)...)
	if err == nil && r.Status != 0 {
		err = fmt.Errorf("physgdb %s: exit status %d: %s", command, r.Status, strings.TrimSpace(r.Stderr))
	}
	return r.Stdout, err
}

// checkSlide compares the slide and the cause of death with the log and with /proc/kallsyms.
func checkSlide(ctx context.Context, m *machine) error {
	info, err := m.run(ctx, "info")
	if err != nil {
		return err
	}
	facts := &m.guest.Facts
	const linked = 0xffffffff81000000 // link address of the text of Debian's kernels (CONFIG_PHYSICAL_START)
	if slide := facts.Kallsyms["_text"] - linked; slide != facts.Slide {
		return fmt.Errorf("the guest's /proc/kallsyms has slide %#x, its log %#x", slide, facts.Slide)
	}
	for name, want := range map[string]string{
		"slide":   fmt.Sprintf("%#x", facts.Slide),
		"_text":   fmt.Sprintf("%#x, at phys ", facts.Kallsyms["_text"]),
		"died of": "panicked: " + strings.TrimSpace(facts.PanicMessage),
	} {
		if got := verify.Row(info, name); !strings.HasPrefix(got, want) {
			err = errors.Join(err, fmt.Errorf("%s is %q, want %q", name, got, want))
		}
	}
	return err
}

func checkTasks(ctx context.Context, m *machine) error {
	out, err := m.run(ctx, "ps", "--json")
	if err != nil {
		return err
	}
	return verify.Tasks(&m.guest.Facts, out)
}

func checkBacktrace(ctx context.Context, m *machine) error {
	out, err := m.run(ctx, "bt", "--json")
	if err != nil {
		return err
	}
	return verify.PanicBacktrace(&m.guest.Facts, out)
}

// checkStacks also stores the traces of all tasks for other checks.
func checkStacks(ctx context.Context, m *machine) error {
	out, err := m.run(ctx, "bt", "--json", "all")
	if err != nil {
		return err
	}
	if m.traces, err = verify.JSONLines[verify.Trace](out); err != nil {
		return err
	}
	return verify.Stacks(&m.guest.Facts, m.stacks, m.symbols, m.traces)
}

func checkDmesg(ctx context.Context, m *machine) error {
	out, err := m.run(ctx, "dmesg")
	if err != nil {
		return err
	}
	printed, err := m.guest.KernelLog()
	if err != nil {
		return err
	}
	return verify.Dmesg(printed, out)
}

func checkModules(ctx context.Context, m *machine) error {
	out, err := m.run(ctx, "modules", "--json")
	if err != nil {
		return err
	}
	if m.guest.Facts.Modules == "" && out == "" {
		return errAbsent
	}
	return verify.Modules(&m.guest.Facts, out)
}

// serve calls do with the address of a stub for the machine's memory alone.
func (m *machine) serve(ctx context.Context, do func(address string) error) error {
	ready, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	stub, address, err := m.physgdb.Serve(ready, m.guest.Source(), "--symbols", "ram")
	if err != nil {
		return err
	}
	err = do(address)
	if stopped := stub.Stop(); stopped != nil {
		err = errors.Join(err, fmt.Errorf("the stub failed: %w: %s", stopped, stub.Stderr()))
	}
	return err
}

// Commands of the session of gdb that several checks share.
const (
	allStacks  = "thread apply all bt"
	ptypeTask  = "ptype struct task_struct"
	printComm  = "p init_task.comm"
	printUTS   = "p init_uts_ns.name.release"
	printState = "p sizeof(struct page)"
)

// session runs gdb without a file once and returns its steps.
func (m *machine) session(ctx context.Context) ([]session.Step, error) {
	if m.gdb != nil {
		return m.gdb, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxTime, fmt.Errorf("gdb took longer than %v", maxTime))
	defer cancel()
	commands := []string{"set print frame-arguments none", "bt", allStacks, ptypeTask, printComm, printUTS, printState,
		"remote get /proc/kallsyms " + m.kallsymsFile()}
	for _, s := range m.moduleFunctions() {
		commands = append(commands, infoSymbol(s))
	}
	err := m.serve(ctx, func(address string) (err error) {
		m.gdb, err = session.GDB(ctx, "", append([]string{"target remote " + address}, commands...)...)
		return err
	})
	return m.gdb, err
}

func (m *machine) kallsymsFile() string { return filepath.Join(m.dir, "kallsyms") }

// checkKallsyms compares the symbols that physgdb serves as /proc/kallsyms with the guest's.
func checkKallsyms(ctx context.Context, m *machine) error {
	if _, err := m.session(ctx); err != nil {
		return err
	}
	text, err := os.ReadFile(m.kallsymsFile())
	if err != nil {
		return err
	}
	got, err := verify.ParseSymbols(string(text))
	if err != nil {
		return err
	}
	return verify.Kallsyms(m.symbols, got)
}

func checkGDBBacktrace(ctx context.Context, m *machine) error {
	steps, err := m.session(ctx)
	if err != nil {
		return err
	}
	return verify.GDBCallTrace(&m.guest.Facts, session.Find(steps, "bt"))
}

func checkGDBStacks(ctx context.Context, m *machine) error {
	steps, err := m.session(ctx)
	if err != nil {
		return err
	}
	return verify.GDBStacks(m.traces, session.Find(steps, allStacks))
}

// checkPtype checks types in gdb, and variables printed with them.
func checkPtype(ctx context.Context, m *machine) error {
	steps, err := m.session(ctx)
	if err != nil {
		return err
	}
	for command, want := range map[string]string{
		ptypeTask:  "struct list_head tasks;",
		printComm:  `"swapper/0\000`,
		printUTS:   `"` + m.guest.Facts.Release,
		printState: "= 64",
	} {
		if out := session.Find(steps, command); !strings.Contains(out, want) {
			err = errors.Join(err, fmt.Errorf("%s: %.300q, want %q", command, out, want))
		}
	}
	return err
}

// moduleFunctions returns a function of each module that has one with a unique name.
func (m *machine) moduleFunctions() []*verify.Symbol {
	var all []*verify.Symbol
	for line := range strings.Lines(m.guest.Facts.Modules) {
		name, _, _ := strings.Cut(line, " ")
		if s := m.symbols.Function(name); s != nil {
			all = append(all, s)
		}
	}
	return all
}

func infoSymbol(s *verify.Symbol) string { return fmt.Sprintf("info symbol %#x", s.Address) }

// checkModuleSymbols checks that gdb names functions of modules.
func checkModuleSymbols(ctx context.Context, m *machine) error {
	functions := m.moduleFunctions()
	if len(functions) == 0 {
		return errAbsent
	}
	steps, err := m.session(ctx)
	if err != nil {
		return err
	}
	for _, s := range functions {
		want := fmt.Sprintf("%s in section .text of target:/from-memory/%s.ko", s.Name, s.Module)
		if out := session.Find(steps, infoSymbol(s)); out != want {
			err = errors.Join(err, fmt.Errorf("%s: %q, want %q", infoSymbol(s), out, want))
		}
	}
	return err
}

// checkAttach attaches to the clock and compares its variable with the time that the clock
// reported.
func checkAttach(ctx context.Context, m *machine) error {
	ctx, cancel := context.WithTimeoutCause(ctx, maxTime, fmt.Errorf("gdb took longer than %v", maxTime))
	defer cancel()
	const now = "p 'main.UnixTimeNow'"
	return m.serve(ctx, func(address string) error {
		steps, err := session.GDB(ctx, "", "target extended-remote "+address, "add-inferior", "inferior 2",
			"file "+m.guest.ClockELF(), fmt.Sprintf("attach %d", m.guest.Facts.ClockPID), now, "bt")
		if err != nil {
			return err
		}
		if got, want := session.Value(session.Find(steps, now)), fmt.Sprint(m.guest.Facts.LastClock); got != want {
			return fmt.Errorf("the clock shows %q, want %s in\n%s", got, want, session.Transcript(steps))
		}
		if bt := session.Find(steps, "bt"); !strings.Contains(bt, " in runtime.") {
			return fmt.Errorf("no function of the program in its backtrace:\n%s", bt)
		}
		return nil
	})
}

func checkLLDB(ctx context.Context, m *machine) error {
	ctx, cancel := context.WithTimeoutCause(ctx, maxTime, fmt.Errorf("lldb took longer than %v", maxTime))
	defer cancel()
	const all = "bt all"
	r, err := m.physgdb.Run(ctx, "gdb", "--lldb", m.guest.Source(), "--symbols", "ram", "--", "--no-lldbinit", "--batch", "-o", all)
	if err != nil {
		return err
	}
	_, out, found := strings.Cut(r.Stdout, "(lldb) "+all+"\n")
	if !found {
		return fmt.Errorf("lldb did not execute %q: %s%s", all, r.Stdout, r.Stderr)
	}
	return verify.LLDBStacks(m.traces, out)
}

// structs are the structs whose layout is compared: the large ones of the kernel, and those that
// physgdb reads.
var structs = strings.Fields(`task_struct mm_struct vm_area_struct file dentry inode super_block module page sk_buff sock
	net_device cred signal_struct files_struct fdtable mount path pid nsproxy rq thread_struct pt_regs zone pglist_data
	kmem_cache work_struct worker_pool timer_list hrtimer device bus_type gendisk request_queue bio irq_desc kthread`)

// checkTypes compares the layout of structs in gdb without a file with that in the debug vmlinux.
func checkTypes(ctx context.Context, m *machine) error {
	if m.guest.Kernel.Vmlinux == "" {
		return errAbsent
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxTime, fmt.Errorf("gdb took longer than %v", maxTime))
	defer cancel()
	var commands []string
	for _, name := range structs {
		commands = append(commands, "ptype /o struct "+name)
	}
	want, err := session.GDB(ctx, m.guest.Kernel.Vmlinux, commands...)
	if err != nil {
		return err
	}
	return m.serve(ctx, func(address string) error {
		got, err := session.GDB(ctx, "", append([]string{"target remote " + address}, commands...)...)
		if err != nil {
			return err
		}
		return sameLayouts(commands, want, got)
	})
}

// sameLayouts compares the structs of two sessions, without those that the kernel does not have.
func sameLayouts(commands []string, want, got []session.Step) error {
	var errs []error
	compared := 0
	for _, command := range commands {
		wanted := layout(session.Find(want, command))
		if len(wanted) == 0 {
			continue
		}
		compared++
		if diff := cmp.Diff(wanted, layout(session.Find(got, command))); diff != "" {
			errs = append(errs, fmt.Errorf("%s (-vmlinux +memory):\n%s", command, diff))
		}
	}
	if compared < len(commands)/2 {
		errs = append(errs, fmt.Errorf("vmlinux has only %d of %d structs", compared, len(commands)))
	}
	return errors.Join(errs...)
}

// Lines of `ptype /o`: "/* 712: 0 | 4 */ unsigned int flag : 1;", and at the end the size.
var (
	memberLine = regexp.MustCompile(`^/\* +([0-9]+(?:: *[0-9]+)?)? *(?:\|)? +([0-9]+) \*/ +(.*?);?$`)
	memberName = regexp.MustCompile(`\(\*+(\w+)\)|(\w+)(?:\[[^\]]*\])*(?: : \d+)?$`)
	totalLine  = regexp.MustCompile(`total size: +(\d+) bytes`)
)

// layout returns the members of a struct with their offsets and sizes, and its size.
func layout(ptype string) []string {
	var all []string
	for line := range strings.Lines(ptype) {
		line = strings.TrimRight(line, "\n")
		if m := memberLine.FindStringSubmatch(line); m != nil && !strings.HasSuffix(m[3], "{") {
			name := memberName.FindStringSubmatch(m[3])
			if name != nil {
				all = append(all, strings.ReplaceAll(m[1], " ", "")+" "+m[2]+" "+name[1]+name[2])
			}
		}
		if m := totalLine.FindStringSubmatch(line); m != nil {
			n, err := strconv.Atoi(m[1])
			if err == nil {
				all = append(all, fmt.Sprint("size ", n))
			}
		}
	}
	return all
}
