package verify

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"physgdb/test/guest"
	"physgdb/test/guest/witness"
)

// differs checks for an error that contains words, or for none if words is "".
func differs(t *testing.T, err error, words string) {
	t.Helper()
	if words == "" && err != nil || words != "" && (err == nil || !strings.Contains(err.Error(), words)) {
		t.Errorf("got error %v, want %q", err, words)
	}
}

// kallsyms returns many symbols, and one of a module.
func kallsyms(t *testing.T, more string) Symbols {
	t.Helper()
	var text strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&text, "%016x t f%d\n", uint64(0xffffffff81000000)+uint64(i), i)
	}
	symbols, err := ParseSymbols(text.String() + more)
	if err != nil {
		t.Fatal(err)
	}
	return symbols
}

func TestKallsyms(t *testing.T) {
	const open, shut = "ffffffffc0000000 t virtnet_open\t[virtio_net]\n", "ffffffffc0000010 t virtnet_close\t[virtio_net]\n"
	for name, c := range map[string]struct{ want, got, words string }{
		"equal":          {open + shut, shut + open, ""},
		"one is missing": {open + shut, open, `1 symbols are missing: ["0xffffffffc0000010 virtnet_close [virtio_net]"]`},
		"one is extra":   {open, open + shut, "1 symbols are not in /proc/kallsyms"},
		"listed twice":   {open, open + open, "1 symbols are not in /proc/kallsyms"},
		"another place":  {open, strings.Replace(open, "c0000000", "c0000001", 1), "are missing"},
		"its own":        {open, open + "ffffffff82000000 r kallsyms_names\n", ""},
	} {
		t.Run(name, func(t *testing.T) { differs(t, Kallsyms(kallsyms(t, c.want), kallsyms(t, c.got)), c.words) })
	}
	differs(t, Kallsyms(nil, nil), "reported only 0 symbols")
}

func TestFunctionOfAModule(t *testing.T) {
	symbols := kallsyms(t, `ffffffffc0000000 t cleanup_module	[m]
ffffffffc0000000 t m_exit	[m]
ffffffffc0000010 d m_data	[m]
ffffffffc0000020 t m_cold.1	[m]
ffffffffc0000030 t m_open	[m]
`)
	if s := symbols.Function("m"); s == nil || s.Name != "m_open" {
		t.Errorf("got %+v, want m_open: the others share an address, are data, or have a dot", s)
	}
	if s := symbols.Function("other"); s != nil {
		t.Errorf("got %+v for a missing module", s)
	}
}

func TestStacks(t *testing.T) {
	symbols := kallsyms(t, "ffffffff82000000 T __sched_text_start\nffffffff82001000 T __sched_text_end\n")
	facts := &guest.Facts{}
	var stacks []witness.Stack
	var traces []Trace
	for tid := range 40 {
		stacks = append(stacks, witness.Stack{TID: tid, Stack: "[<0>] worker_thread+0x97/0x2f0\n[<0>] m_run+0x1/0x2 [m]\n"})
		traces = append(traces, Trace{TID: tid, Frames: []Frame{
			{PC: "0xffffffff82000010", Function: "schedule", Offset: "0x10", Size: "0xc0"},
			{PC: "0xffffffff81000010", Function: "worker_thread", Offset: "0x97", Size: "0x2f0"},
			{PC: "0xffffffffc0000010", Function: "m_run", Offset: "0x1", Size: "0x2", Module: "m"},
		}})
	}
	differs(t, Stacks(facts, stacks, symbols, traces), "")
	differs(t, Stacks(facts, stacks, symbols, traces[1:]), "has no trace")
	differs(t, Stacks(facts, stacks[:3], symbols, traces), "reported only 3 stacks")
	differs(t, Stacks(facts, stacks, nil, traces), "no __sched_text_start")
	traces[7].Frames[1].Offset = "0x98"
	differs(t, Stacks(facts, stacks, symbols, traces), "stack of 7")
	facts.PanicPID = 7
	differs(t, Stacks(facts, stacks, symbols, traces), "")
}

func TestTasks(t *testing.T) {
	facts := &guest.Facts{Threads: []witness.Thread{
		{PID: 1, TID: 1, Comm: "init"}, {PID: 9, TID: 9, PPID: 2, Comm: "kworker/0:0-events", Kernel: true},
	}}
	const init, worker = `{"pid":1,"tid":1,"ppid":0,"comm":"init","kind":"user"}`, `{"pid":9,"tid":9,"ppid":2,"comm":"kworker/0:0","kind":"kernel"}`
	for name, c := range map[string]struct{ out, words string }{
		"equal":                  {init + "\n" + worker, ""},
		"a worker has ended":     {init, ""},
		"a task is missing":      {worker, "1 init is missing"},
		"another parent":         {strings.Replace(init, `"ppid":0`, `"ppid":2`, 1), "PPID:2"},
		"one that was not":       {init + strings.ReplaceAll(init, `id":1`, `id":5`), "was not listed by the guest"},
		"one was born later":     {init + strings.ReplaceAll(init, `id":1`, `id":50`), ""},
		"output that is no JSON": {"ps: error", "decode JSON lines"},
	} {
		t.Run(name, func(t *testing.T) { differs(t, Tasks(facts, c.out), c.words) })
	}
}

func TestModules(t *testing.T) {
	facts := &guest.Facts{}
	facts.Modules = "failover 12288 1 net_failover, Live 0xffffffffc0296000\n"
	facts.ModuleBuildIDs = map[string]string{"failover": "ab"}
	facts.ModuleSections = map[string]map[string]uint64{"failover": {".text": 0xffffffffc0296000}}
	const good = `{"name":"failover","size":12288,"base":"0xffffffffc0296000","build_id":"ab",` +
		`"sections":[{"name":".text","addr":"0xffffffffc0296000"}]}`
	differs(t, Modules(facts, good), "")
	for _, c := range []struct{ old, new, words string }{
		{"12288", "8192", "modules (-/proc/modules"}, {`"ab"`, `"cd"`, "has build-id"}, {".text", ".data", "/sys has 0x0"},
	} {
		differs(t, Modules(facts, strings.Replace(good, c.old, c.new, 1)), c.words)
	}
	differs(t, Modules(facts, ""), "modules (-/proc/modules")
}

func TestDmesg(t *testing.T) {
	printed := []guest.LogLine{{Time: 1500 * time.Millisecond, Text: "Linux version"}}
	differs(t, Dmesg(printed, "[    1.500000] Linux version\n"), "")
	differs(t, Dmesg(printed, "[    1.500000] Linux\n"), "dmesg differs")
}

func TestBacktraces(t *testing.T) {
	facts := &guest.Facts{}
	facts.PanicComm, facts.PanicPID = "init", 1
	for _, f := range []string{"dump_stack_lvl", "vpanic", "panic", "sysrq_handle_crash", "vfs_write"} {
		facts.Frames = append(facts.Frames, guest.Frame{Function: f})
	}
	trace := `{"tid":1,"comm":"init","panicked":true,"frames":[{"function":"vpanic"},{"function":"panic"},` +
		`{"function":"sysrq_handle_crash"},{"function":"vfs_write"}]}`
	differs(t, PanicBacktrace(facts, trace), "")
	differs(t, PanicBacktrace(facts, strings.Replace(trace, "vfs_write", "vfs_read", 1)), "bt differs from the Call Trace")
	differs(t, PanicBacktrace(facts, strings.Replace(trace, `"tid":1`, `"tid":2`, 1)), "the log says 1 init")
	const bt = "#0  0xffffffff81000000 in vpanic ()\n#1  0xffffffff81000001 in panic ()\n" +
		"#2  0xffffffff81000002 in sysrq_handle_crash ()\n#3  0xffffffff81000003 in vfs_write ()\n"
	differs(t, GDBCallTrace(facts, bt), "")
	differs(t, GDBCallTrace(facts, bt[:100]), "gdb's bt differs")
	traces := []Trace{{TID: 1, Frames: []Frame{{PC: "0xffffffff81000000"}}}, {TID: 0, CPU: 1, Frames: []Frame{{PC: "0xffffffff81000001"}}}}
	const first, idle = "Thread 1 (Thread 1.1 \"init\"):\n#0  0xffffffff81000000 in vpanic ()\n\n",
		"Thread 2 (Thread 1.10000001 \"swapper/1\"):\n#0  0xffffffff81000001 in idle ()\n"
	differs(t, GDBStacks(traces, first+idle), "")
	differs(t, GDBStacks(traces, first), "1 stacks for 2 tasks")
	differs(t, GDBStacks(traces, first+strings.Replace(idle, "81000001", "81000009", 1)), "gdb's stack of thread 10000001")
	const lldb = "* thread #1\n  * frame #0: 0xffffffff81000000 vmlinux`vpanic\n  thread #2\n    frame #0: 0xffffffff81000001 vmlinux`idle\n"
	differs(t, LLDBStacks(traces, lldb), "")
	differs(t, LLDBStacks(traces, strings.Replace(lldb, "81000001", "81000009", 1)), "no task has this stack")
}
