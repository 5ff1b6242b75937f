package e2e

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/test/guest"
	"physgdb/test/guest/witness"
	"physgdb/test/session"
	"physgdb/test/verify"
)

// instrumented are machines with code on their stacks that the kernel made at run time, or with
// replaced return addresses. PHYSGDB_INSTRUMENTED lists kernels, such as "6.1 newest", on which all
// are tested; without it, only the quick ones are.
var instrumented = []instrumentedMachine{
	{
		name: "bpf-kretprobe", quick: "6.12", config: guest.Config{Instrument: []string{"kretprobe", "fexit", "sleepable"}},
		panicked: []string{"vfs_write", "bpf_trampoline_"},
		asleep:   map[string][]string{"faulter": {"bpf_copy_from_user", "bpf_prog_", "bpf_trampoline_"}},
		replaced: true,
	},
	{
		name: "kprobe", quick: "6.1", config: guest.Config{Panic: "kprobe", Instrument: []string{"module"}},
		panicked: []string{"ftrace_trampoline [__builtin__ftrace]", "probed [instrumented]", "calls_probed [instrumented]"},
	},
	{
		name: "function-graph", config: guest.Config{Instrument: []string{"graph"}},
		panicked: []string{"write_sysrq_trigger", "proc_reg_write", "vfs_write", "ksys_write"}, replaced: true,
	},
	{
		name: "livepatch", config: guest.Config{Panic: "livepatch", Instrument: []string{"module"}},
		panicked: []string{"patched_inner [instrumented]", "patched_version_proc_show [instrumented]", "seq_read_iter"},
	},
}

// instrumentedMachine is a machine, and the beginnings of the names that must be on its stacks.
type instrumentedMachine struct {
	name     string
	quick    string // the kernel that is always tested, or none
	config   guest.Config
	panicked []string            // functions of the task that panicked
	asleep   map[string][]string // functions of sleeping processes, by their names
	replaced bool                // return addresses are replaced
}

// TestInstrumentedStacks compares the stacks of each machine in physgdb, gdb and lldb with those
// that the kernel printed.
func TestInstrumentedStacks(t *testing.T) {
	for _, m := range instrumented {
		kernels := strings.Fields(os.Getenv("PHYSGDB_INSTRUMENTED"))
		if m.quick != "" && !slices.Contains(kernels, m.quick) {
			kernels = append(kernels, m.quick)
		}
		for _, release := range kernels {
			t.Run(release+"-"+m.name, func(t *testing.T) { m.look(t, release) })
		}
	}
}

// configFor returns the configuration for a kernel. On 5.10 no sleepable program can be attached
// where a process opens a file (btf_sleepable_lsm_hooks, kernel/bpf/verifier.c).
func (m *instrumentedMachine) configFor(release string) guest.Config {
	c := m.config
	c.Release, c.NoDebug, c.Full = release, true, true
	if release == "5.10" {
		c.Instrument = slices.DeleteFunc(slices.Clone(c.Instrument), func(name string) bool { return name == "sleepable" })
	}
	return c
}

func (m *instrumentedMachine) look(t *testing.T, release string) {
	c := m.configFor(release)
	g, err := guest.Boot(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	text, err := g.AllKallsyms()
	if err != nil {
		t.Fatal(err)
	}
	names, err := verify.ParseSymbols(text)
	if err != nil {
		t.Fatal(err)
	}
	stacks, err := g.Stacks()
	if err != nil {
		t.Fatal(err)
	}
	source := []string{g.Source(), "--symbols", "ram"}
	traces, err := verify.JSONLines[verify.Trace](run(t, slices.Concat([]string{"bt"}, source, []string{"--json", "all"})...).Stdout)
	if err != nil {
		t.Fatal(err)
	}
	before := beforeTrampoline(names)
	if release == "5.10" {
		stacks = slices.DeleteFunc(stacks, func(s witness.Stack) bool { return endsIn(s.Stack, before) })
	}
	if err := verify.Stacks(&g.Facts, stacks, names, traces); err != nil {
		t.Error(err)
	}
	dead := m.wantFunctions(t, traces, slices.Contains(c.Instrument, "sleepable"))
	want := callTrace(&g.Facts, before)
	got := slices.DeleteFunc(dead.Functions(), func(f string) bool { return strings.HasPrefix(f, "ftrace_trampoline") })
	if release == "5.10" {
		got = got[:min(len(got), len(want))] // the kernel's own unwinder ends there
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 6 {
		t.Errorf("bt differs from the Call Trace (-log +bt):\n%s", diff)
	}
	replaced := m.gdb(t, source, traces, dead)
	args := slices.Concat([]string{"gdb", "--lldb"}, source, []string{"--", "--no-lldbinit", "--batch", "-o", "bt"})
	_, bt, _ := strings.Cut(run(t, args...).Stdout, "(lldb) bt\n")
	if err := verify.LLDBStacks([]verify.Trace{*dead}, bt); err != nil {
		t.Error(err)
	}
	t.Logf("equal: %d frames of the Call Trace in bt, gdb and lldb, %d files /proc/PID/stack, %d stacks in gdb; %d return "+
		"addresses were replaced", len(want), len(stacks), len(traces), replaced)
}

// wantFunctions checks the expected functions in the traces, and that no trace is incomplete. It
// returns that of the panic.
func (m *instrumentedMachine) wantFunctions(t *testing.T, traces []verify.Trace, sleepers bool) *verify.Trace {
	t.Helper()
	asleep := map[string]*verify.Trace{}
	var dead *verify.Trace
	for i := range traces {
		tr := &traces[i]
		if tr.Lost != "" {
			t.Errorf("%d %s: lost: %s", tr.TID, tr.Comm, tr.Lost)
		}
		if tr.Panicked {
			dead = tr
		}
		asleep[tr.Comm] = tr
	}
	if dead == nil {
		t.Fatal("no task panicked")
	}
	wantIn(t, dead, m.panicked)
	for comm, functions := range m.asleep {
		if !sleepers {
			continue
		}
		if asleep[comm] == nil {
			t.Fatalf("no task %s", comm)
		}
		wantIn(t, asleep[comm], functions)
	}
	return dead
}

// wantIn checks for functions in this order in a trace.
func wantIn(t *testing.T, tr *verify.Trace, want []string) {
	t.Helper()
	got := tr.Functions()
	for i := range got {
		got[i] = strings.Replace(got[i], ".cold", "", 1)
	}
	for i := range got {
		if len(got)-i >= len(want) && slices.EqualFunc(got[i:i+len(want)], want, strings.HasPrefix) {
			return
		}
	}
	t.Errorf("%d %s: %q has no %q in it", tr.TID, tr.Comm, got, want)
}

// callTrace returns the kernel's Call Trace. The kernel prints a trampoline of ftrace as an
// address, which [guest.Facts] omits. For a return address that a kretprobe replaced, it prints the
// replacement, under the name of the symbol before it: the two functions on the way to the panic
// that have kretprobes have one caller each. On 7.3, vfs_write does not call the trampoline of BPF
// but jumps to it.
func callTrace(facts *guest.Facts, before []string) []string {
	callers := map[string]string{"vfs_write": "ksys_write", "ksys_write": "do_syscall_64"}
	want := verify.CallTrace(facts)
	for i := range want {
		if i > 0 && slices.Contains(before, want[i]) {
			if want[i] = callers[want[i-1]]; strings.HasPrefix(want[i-1], "bpf_trampoline_") {
				want[i] = callers["vfs_write"]
			}
		}
	}
	return want
}

// beforeTrampoline returns the symbol before the code with which kretprobes replace return
// addresses.
func beforeTrampoline(names verify.Symbols) []string {
	var trampoline, at uint64
	for _, s := range names {
		if slices.Contains([]string{"arch_rethook_trampoline", "__kretprobe_trampoline", "kretprobe_trampoline"}, s.Name) {
			trampoline = s.Address
		}
	}
	for _, s := range names {
		if s.Address < trampoline {
			at = max(at, s.Address)
		}
	}
	var before []string
	for _, s := range names {
		if s.Address == at && at != 0 {
			before = append(before, s.Name)
		}
	}
	return before
}

// endsIn reports whether a /proc/PID/stack ends in one of these functions: 5.10 cannot restore the
// address after a kretprobe.
func endsIn(stack string, functions []string) bool {
	lines := strings.Split(strings.TrimSpace(stack), "\n")
	_, place, _ := strings.Cut(lines[len(lines)-1], "] ")
	name, _, _ := strings.Cut(place, "+")
	return slices.Contains(functions, name)
}

// gdb compares every stack in a gdb without a file with physgdb's own. It returns the number of
// frames for replaced return addresses.
func (m *instrumentedMachine) gdb(t *testing.T, source []string, traces []verify.Trace, dead *verify.Trace) int {
	const all, border = "thread apply all bt", " in [replaced-return] ()"
	steps := gdb(t, "", serve(t, source...), "set print frame-arguments none", "bt", all)
	without := func(bt string) string {
		var out strings.Builder
		for line := range strings.Lines(bt) {
			if !strings.Contains(line, border) {
				out.WriteString(line)
			}
		}
		return out.String()
	}
	var want, got []string
	for _, f := range dead.Frames {
		want = append(want, f.Function)
	}
	for _, f := range verify.GDBFrame.FindAllStringSubmatch(without(session.Find(steps, "bt")), -1) {
		if f[3] != "??" {
			got = append(got, strings.Replace(f[3], "[cold]", ".cold", 1))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the panic in gdb (-bt +gdb):\n%s\n%s", diff, session.Find(steps, "bt"))
	}
	shown := session.Find(steps, all)
	if err := verify.GDBStacks(traces, without(shown)); err != nil {
		t.Error(err)
	}
	replaced := strings.Count(shown, border)
	if (replaced > 0) != m.replaced {
		t.Errorf("%d return addresses are replaced; want some: %v", replaced, m.replaced)
	}
	return replaced
}
