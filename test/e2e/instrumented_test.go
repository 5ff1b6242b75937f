package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/test/guest"
	"physgdb/test/session"
)

// instrumented are machines on whose stacks there is code that the kernel made at run time, or return addresses that were
// replaced. Those that are not quick are looked at if PHYSGDB_INSTRUMENTED is set; it lists kernels, such as "6.1 newest".
var instrumented = []instrumentedMachine{
	{
		name: "bpf-kretprobe", quick: "6.12", config: guest.Config{Instrument: []string{"kretprobe", "fexit", "sleepable"}},
		panicked: []string{"vfs_write", "bpf_trampoline_", "vfs_write", "ksys_write"},
		asleep:   map[string][]string{"faulter": {"bpf_copy_from_user", "bpf_prog_", "bpf_trampoline_", "bpf_lsm_file_open"}},
		replaced: "sleeper",
	},
	{
		name: "kprobe", quick: "6.1", config: guest.Config{Panic: "kprobe", Instrument: []string{"module"}},
		panicked: []string{"kprobe_ftrace_handler", "ftrace_trampoline [__builtin__ftrace]", "probed [instrumented]"},
	},
	{
		name: "function-graph", config: guest.Config{Instrument: []string{"graph"}},
		panicked: []string{"sysrq_handle_crash", "__handle_sysrq", "write_sysrq_trigger"}, replaced: "sleeper",
	},
	{
		name: "livepatch", config: guest.Config{Panic: "livepatch", Instrument: []string{"module"}},
		panicked: []string{"patched_inner [instrumented]", "patched_version_proc_show [instrumented]", "seq_read_iter"},
	},
}

// instrumentedMachine is a machine, and what must be on its stacks; a name ends anywhere.
type instrumentedMachine struct {
	name     string
	quick    string // the kernel that is looked at in any case, or none
	config   guest.Config
	panicked []string            // functions of the task that panicked
	asleep   map[string][]string // functions of sleeping processes, by their names
	replaced string              // a process with a replaced return address on its stack
}

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

// look compares what physgdb, gdb and lldb say of a machine with what the kernel said.
func (m *instrumentedMachine) look(t *testing.T, release string) {
	c := m.config
	c.Release, c.NoDebug, c.Full = release, true, true
	g, err := guest.Boot(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	source := []string{g.Source(), "--symbols", "ram"}
	traces := map[int]*placedTrace{}
	var dead *placedTrace
	list := lines[placedTrace](t, run(t, append([]string{"bt", "--json", "all"}, source...)...).Stdout)
	for i := range list {
		tr := &list[i]
		traces[gdbThread(&trace{TID: tr.TID, CPU: tr.CPU})] = tr
		if tr.Panicked {
			dead = tr
		}
		if tr.Lost != "" {
			t.Errorf("%s: lost: %s", tr.Comm, tr.Lost)
		}
	}
	if dead == nil {
		t.Fatal("no task panicked")
	}
	wantsIn(t, "the panic", dead.functions(), m.panicked)
	for comm, functions := range m.asleep {
		i := slices.IndexFunc(list, func(tr placedTrace) bool { return tr.Comm == comm })
		if i < 0 {
			t.Fatalf("no task %s", comm)
		}
		wantsIn(t, comm, list[i].functions(), functions)
	}
	t.Run("call trace", func(t *testing.T) { isCallTraceOf(t, g, dead) })
	t.Run("stacks of sleepers", func(t *testing.T) { areStacksOf(t, g, traces) })
	t.Run("gdb", func(t *testing.T) { m.gdb(t, source, traces, dead) })
	t.Run("lldb", func(t *testing.T) { isLLDBTraceOf(t, source, dead) })
}

// isLLDBTraceOf compares the backtrace of the panic in an lldb that physgdb starts with physgdb's own.
func isLLDBTraceOf(t *testing.T, source []string, dead *placedTrace) {
	args := slices.Concat([]string{"gdb", "--lldb"}, source, []string{"--", "--no-lldbinit", "--batch", "-o", "bt"})
	_, bt, _ := strings.Cut(run(t, args...).Stdout, "(lldb) bt\n")
	var got []string
	for _, f := range lldbFunction.FindAllStringSubmatch(bt, -1) {
		got = append(got, f[1])
	}
	want := dead.names()
	// See lldbWithoutVmlinux.
	if n := len(got); n > 0 && n < len(want) && strings.HasSuffix(got[n-1], ".cold") {
		t.Logf("lldb ends at %s", got[n-1])
		want = want[:n]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-bt +lldb):\n%s\n%s", diff, bt)
	}
}

// placedTrace is a backtrace with the offsets of its frames.
type placedTrace struct {
	TID, CPU   int
	Comm, Lost string
	Panicked   bool
	Frames     []placedFrame
	User       *struct{ RIP string }
}

type placedFrame struct {
	PC, Function, Module string
	Offset, Size         string
}

func (tr *placedTrace) functions() []string {
	var names []string
	for _, f := range tr.Frames {
		names = append(names, inModule(f.Function, f.Module))
	}
	return names
}

// names are the functions without their modules.
func (tr *placedTrace) names() []string {
	var names []string
	for _, f := range tr.Frames {
		names = append(names, f.Function)
	}
	return names
}

// places are the frames as the kernel writes them.
func (tr *placedTrace) places() []string {
	var places []string
	for _, f := range tr.Frames {
		places = append(places, inModule(fmt.Sprintf("%s+%s/%s", f.Function, f.Offset, f.Size), f.Module))
	}
	return places
}

func (tr *placedTrace) addresses() []string {
	var at []string
	for _, f := range tr.Frames {
		at = append(at, f.PC)
	}
	if tr.User != nil {
		at = append(at, tr.User.RIP)
	}
	return at
}

// wantsIn wants functions one after the other in a backtrace.
func wantsIn(t *testing.T, whose string, got, want []string) {
	t.Helper()
	for i := range got {
		if len(got)-i >= len(want) && slices.EqualFunc(got[i:i+len(want)], want, strings.HasPrefix) {
			return
		}
	}
	t.Errorf("%s: %q has no %q in it", whose, got, want)
}

// isCallTraceOf compares the backtrace of the panic with the kernel's Call Trace. The kernel writes a trampoline of ftrace as an
// address, which [guest.Facts] leaves out. Of a return address that a kretprobe replaced it writes the replacement, with the
// name of what is before that: the two functions that have kretprobes are called by one other each.
func isCallTraceOf(t *testing.T, g *guest.Guest, dead *placedTrace) {
	frames := g.Facts.Frames
	if i := slices.IndexFunc(frames, func(f guest.Frame) bool { return f.Function == "panic" }); i > 0 {
		frames = frames[i:]
	}
	standIns := beforeTrampolines(t, g)
	callers := map[string]string{"vfs_write": "ksys_write", "ksys_write": "do_syscall_64"}
	var want []string
	for _, f := range frames {
		name := f.Function
		if slices.Contains(standIns, name) && f.Offset == f.Size {
			name = callers[want[len(want)-1]]
		}
		want = append(want, inModule(name, f.Module))
	}
	if len(want) < 6 {
		t.Fatalf("the witness's Call Trace makes no sense: %q", want)
	}
	got := slices.DeleteFunc(dead.functions(), func(f string) bool { return strings.HasPrefix(f, "ftrace_trampoline") })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-log +bt):\n%s", diff)
	}
	t.Logf("%d of %d frames of the Call Trace", len(want), len(frames))
}

// beforeTrampolines names what is in memory before the code that kretprobes put in place of return addresses.
func beforeTrampolines(t *testing.T, g *guest.Guest) []string {
	text, err := g.AllKallsyms()
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]uint64{}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 {
			at[f[2]], _ = strconv.ParseUint(f[0], 16, 64)
		}
	}
	var names []string
	for _, name := range []string{"arch_rethook_trampoline", "__kretprobe_trampoline", "kretprobe_trampoline"} {
		trampoline := at[name]
		var before uint64
		for _, a := range at {
			if a < trampoline {
				before = max(before, a)
			}
		}
		for other, a := range at {
			if a == before && before != 0 {
				names = append(names, other)
			}
		}
	}
	return names
}

// stackLine is a line of /proc/PID/stack.
var stackLine = regexp.MustCompile(`(?m)^\[<0>\] (.+)$`)

// areStacksOf compares the backtraces of threads that slept with /proc/PID/stack, which begins where the scheduler was called.
// Threads of the kernel may have run since.
func areStacksOf(t *testing.T, g *guest.Guest, traces map[int]*placedTrace) {
	stacks, err := g.Stacks()
	if err != nil {
		t.Fatal(err)
	}
	kernel := map[int]bool{}
	for _, th := range g.Facts.Threads {
		kernel[th.TID] = th.Kernel
	}
	equal, all := 0, 0
	for _, s := range stacks {
		var want []string
		for _, l := range stackLine.FindAllStringSubmatch(s.Stack, -1) {
			want = append(want, l[1])
		}
		tr := traces[s.TID]
		if len(want) == 0 || tr == nil || tr.Panicked {
			continue
		}
		all++
		got := tr.places()
		got = got[max(0, len(got)-len(want)):]
		if slices.Equal(want, got) {
			equal++
		} else if !kernel[s.TID] && s.Comm != "init" && s.Comm != "clock" {
			t.Errorf("%s (-/proc +bt):\n%s", s.Comm, cmp.Diff(want, got))
		}
	}
	t.Logf("%d of %d stacks equal /proc/PID/stack", equal, all)
	if equal == 0 || equal*10 < all*9 {
		t.Errorf("only %d of %d stacks equal /proc/PID/stack", equal, all)
	}
}

// gdb compares every stack in a gdb that was given no file with physgdb's own.
func (m *instrumentedMachine) gdb(t *testing.T, source []string, traces map[int]*placedTrace, dead *placedTrace) {
	const all = "thread apply all bt"
	steps := gdb(t, "", serve(t, source...), "set print frame-arguments none", "bt", all)
	var got []string
	for _, f := range gdbFrame.FindAllStringSubmatch(withoutReplaced(session.Find(steps, "bt")), -1) {
		if f[3] != "??" {
			got = append(got, strings.Replace(f[3], "[cold]", ".cold", 1))
		}
	}
	if diff := cmp.Diff(dead.names(), got); diff != "" {
		t.Errorf("the panic (-bt +gdb):\n%s\n%s", diff, session.Find(steps, "bt"))
	}
	clean, replaced := 0, map[string]int{}
	shown := gdbStacks(session.Find(steps, all))
	for id, bt := range shown {
		tr := traces[id]
		if tr == nil {
			t.Errorf("thread %d is no task:\n%s", id, bt)
			continue
		}
		replaced[tr.Comm] += strings.Count(bt, replacedFrame)
		if diff := cmp.Diff(tr.addresses(), hexes(session.Frames(withoutReplaced(bt)))); diff != "" {
			t.Errorf("thread %d %s (-physgdb +gdb):\n%s\n%s", id, tr.Comm, diff, bt)
			continue
		}
		clean++
	}
	sum := 0
	for _, n := range replaced {
		sum += n
	}
	t.Logf("in gdb %d of %d stacks are those of bt; %d return addresses in them were replaced", clean, len(traces), sum)
	if m.replaced != "" && replaced[m.replaced] == 0 {
		t.Errorf("no return address of %s was replaced", m.replaced)
	}
	if len(shown) != len(traces) {
		t.Errorf("%d stacks for %d tasks", len(shown), len(traces))
	}
}

// replacedFrame is in gdb's line of a frame that stands for a replaced return address.
const replacedFrame = " in [replaced-return] ()"

// withoutReplaced leaves out the frames that stand for replaced return addresses.
func withoutReplaced(bt string) string {
	var out strings.Builder
	for line := range strings.Lines(bt) {
		if !strings.Contains(line, replacedFrame) {
			out.WriteString(line)
		}
	}
	return out.String()
}
