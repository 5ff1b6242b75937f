package e2e

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"physgdb/test/session"
)

// editor drives a debug adapter as an editor does.
type editor struct {
	*session.DAP
	t   *testing.T
	tap *session.Tap
}

// edit starts an adapter for a stub. The transcript is an artifact of the test, and printed if the
// test fails.
func edit(t *testing.T, name, stub string, d *session.DAP) *editor {
	t.Helper()
	tap, err := session.StartTap(stub)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("the adapter failed: %v", err)
		}
		if err := tap.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			fmt.Fprint(t.Output(), d.Transcript())
		}
		if err := os.WriteFile(filepath.Join(t.ArtifactDir(), name+".txt"), []byte(d.Transcript()), 0o600); err != nil {
			t.Error(err)
		}
	})
	return &editor{d, t, tap}
}

// args are the arguments of a request.
type args map[string]any

// try sends a request, logs how long it took, and returns the error of a refusal. The debugger may
// need long to read vmlinux and its types, the stub may not.
func (e *editor) try(command string, arguments, body any) error {
	e.t.Helper()
	requestsBefore, waitedBefore := e.tap.Spent()
	took, err := e.Do(limited(e.t, time.Minute), command, arguments, body)
	if err != nil && !errors.Is(err, session.ErrRefused) {
		e.t.Fatal(err)
	}
	requests, waited := e.tap.Spent()
	requests, waited = requests-requestsBefore, waited-waitedBefore
	if a, ok := arguments.(args); ok && a["expression"] != nil {
		command = fmt.Sprint(a["expression"])
	}
	e.t.Logf("%-26s %5d ms, of them %3d for %3d requests to the stub", command, took.Milliseconds(), waited.Milliseconds(), requests)
	return err
}

// do sends a request that must succeed.
func (e *editor) do(command string, arguments, body any) {
	e.t.Helper()
	if err := e.try(command, arguments, body); err != nil {
		e.t.Errorf("%+v: %v", arguments, err)
	}
}

// refused sends a request that must be refused with a message that contains want.
func (e *editor) refused(want, command string, arguments any) {
	e.t.Helper()
	if err := e.try(command, arguments, nil); err == nil || !strings.Contains(err.Error(), want) {
		e.t.Errorf("%s %+v: error %v, want %q in it", command, arguments, err, want)
	}
}

// stopped is the body of a stopped event.
type stopped struct {
	Reason   string
	ThreadID int
}

// stops sends a request that resumes the machine and expects a stop within a second.
func (e *editor) stops(command string, arguments any) stopped {
	e.t.Helper()
	e.Skip("stopped")
	e.do(command, arguments, nil)
	return e.hearStop()
}

func (e *editor) hearStop() stopped {
	e.t.Helper()
	var at stopped
	begin := time.Now()
	if err := e.Await(limited(e.t, time.Second), "stopped", &at); err != nil {
		e.t.Fatal(err)
	}
	e.t.Logf("%-26s %5d ms, %s in thread %d", "  stopped", time.Since(begin).Milliseconds(), at.Reason, at.ThreadID)
	return at
}

// frame is a frame of a stackTrace.
type frame struct {
	ID   int
	Name string
	Line int
	PC   string `json:"instructionPointerReference"`
}

func (e *editor) stack(thread int) []frame {
	e.t.Helper()
	var body struct{ StackFrames []frame }
	e.do("stackTrace", args{"threadId": thread, "startFrame": 0, "levels": 100}, &body)
	if len(body.StackFrames) == 0 {
		e.t.Fatalf("thread %d has no frames", thread)
	}
	return body.StackFrames
}

// variable is a variable of an editor's view, or the result of an expression.
type variable struct {
	Name, Value, Result string
	Children            int `json:"variablesReference"`
}

// scope returns the variables of a frame's scope by their names.
func (e *editor) scope(f frame, name string) map[string]variable {
	e.t.Helper()
	var body struct {
		Scopes []struct {
			Name      string
			Reference int `json:"variablesReference"`
		}
	}
	e.do("scopes", args{"frameId": f.ID}, &body)
	for _, s := range body.Scopes {
		if s.Name == name {
			return e.variables(s.Reference)
		}
	}
	e.t.Fatalf("no %q in %+v", name, body.Scopes)
	return nil
}

func (e *editor) variables(reference int) map[string]variable {
	e.t.Helper()
	var body struct{ Variables []variable }
	e.do("variables", args{"variablesReference": reference}, &body)
	all := map[string]variable{}
	for _, v := range body.Variables {
		all[v.Name] = v
	}
	return all
}

// watch evaluates an expression in a frame.
func (e *editor) watch(f frame, expression string) variable {
	e.t.Helper()
	var v variable
	e.do("evaluate", args{"expression": expression, "frameId": f.ID, "context": "watch"}, &v)
	return v
}

// threadNames returns the names of all threads in their order.
func (e *editor) threadNames() []string {
	e.t.Helper()
	var body struct {
		Threads []struct{ Name string }
	}
	e.do("threads", nil, &body)
	var names []string
	for _, t := range body.Threads {
		names = append(names, t.Name)
	}
	return names
}

// TestGDBAdapter drives Eclipse CDT's debug adapter, with gdb under it, as an editor does.
func TestGDBAdapter(t *testing.T) {
	h := hosts[0].ready(t)
	stub := serve(t, adapter(t, h), "--vmlinux", h.guest.Kernel.Vmlinux)
	for _, name := range []string{"first", "again"} {
		t.Run(name, func(t *testing.T) {
			d, err := session.StartGDBAdapter(limited(t, 3*time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			e := edit(t, "cdt-gdb-adapter", stub, d)
			e.attachGDB(h)
			at := e.gdbLooks(h)
			e.gdbEvaluates(h, at)
			e.gdbCannotRun(at)
			e.gdbCannotBreak()
			e.gdbCannotWrite(h)
			if got := e.watch(e.stack(1)[0], "nr_cpu_ids").Result; got != fmt.Sprint(h.guest.Facts.CPUs) {
				t.Errorf("nr_cpu_ids has changed to %q", got)
			}
			e.do("disconnect", args{}, nil)
		})
	}
}

// configuration returns the configuration for an extension from docs/vscode/launch.json, with the
// paths and the address of a machine.
func (e *editor) configuration(h *host, kind string) args {
	e.t.Helper()
	sample, err := os.ReadFile("../../docs/vscode/launch.json")
	if err != nil {
		e.t.Fatal(err)
	}
	hostName, port, _ := strings.Cut(e.tap.Address(), ":")
	text := strings.NewReplacer("${workspaceFolder}/vmlinux", h.guest.Kernel.Vmlinux, "${workspaceFolder}", h.dir,
		"127.0.0.1:1234", e.tap.Address(), `"127.0.0.1"`, strconv.Quote(hostName), `"1234"`, strconv.Quote(port)).Replace(string(sample))
	var launch struct{ Configurations []args }
	_, text, _ = strings.Cut(text, "\n{\n") // after the comment
	if err := json.Unmarshal([]byte("{"+text), &launch); err != nil {
		e.t.Fatal(err)
	}
	i := slices.IndexFunc(launch.Configurations, func(c args) bool { return c["type"] == kind })
	if i < 0 {
		e.t.Fatalf("launch.json has no %s", kind)
	}
	return launch.Configurations[i]
}

// attachGDB connects to the stub. The adapter then resumes the machine, and the stub refuses.
func (e *editor) attachGDB(h *host) {
	e.t.Helper()
	e.do("initialize", args{"adapterID": "gdbtarget", "pathFormat": "path", "linesStartAt1": true}, nil)
	e.do("attach", e.configuration(h, "gdbtarget"), nil)
	if err := e.Await(limited(e.t, time.Second), "initialized", nil); err != nil {
		e.t.Fatal(err)
	}
	e.do("setFunctionBreakpoints", args{"breakpoints": []any{}}, nil)
	if at := e.stops("configurationDone", nil); at.ThreadID != 1 || at.Reason != "SIGINT" {
		e.t.Errorf("it stopped in %+v", at)
	}
	if want := "This machine is dead (panicked: " + strings.TrimSpace(h.guest.Facts.PanicMessage); !strings.Contains(e.Printed(), want) {
		e.t.Errorf("%q was not printed", want)
	}
}

// gdbLooks compares threads, stack, variables and registers, and returns the frame of panic().
func (e *editor) gdbLooks(h *host) frame {
	e.t.Helper()
	t := e.t
	names := e.threadNames()
	if want := "init (panicked: " + strings.TrimSpace(h.guest.Facts.PanicMessage); !strings.HasPrefix(names[0], want) {
		t.Errorf("the first thread is %q, want %q", names[0], want)
	}
	e.hasThreads(h, names)

	stack := e.stack(1)
	var pcs []uint64
	for _, f := range stack {
		pc, _ := strconv.ParseUint(f.PC, 0, 64)
		pcs = append(pcs, pc)
	}
	want := session.TrimTrace(h.guest.Facts.CallTrace)
	if diff := cmp.Diff(want, session.Functions(slices.Compact(pcs), h.vmlinux, h.slide(t))); diff != "" {
		t.Errorf("(-log +gdb):\n%s%+v", diff, stack)
	}
	if stack[0].Name != "panic" || stack[0].Line == 0 {
		t.Errorf("the innermost frame is %+v", stack[0])
	}

	if got := e.scope(stack[0], "Local")["fmt"].Value; !strings.Contains(got, `"`+strings.TrimSpace(h.guest.Facts.PanicMessage)) {
		t.Errorf("panic's fmt is %s", got)
	}
	registers := e.scope(stack[0], "Registers")
	if got := registers["rip"].Value; got != stack[0].PC {
		t.Errorf("rip is %s, the frame is at %s", got, stack[0].PC)
	}
	cr3, _ := strconv.ParseUint(registers["cr3"].Value, 0, 64)
	if want := h.registers(t, h.guest.Facts.PanicCPU)["cr3"]; cr3&^0x1fff != want&^0x1fff { // without PCID; of a KPTI pair either
		t.Errorf("cr3 is %#x, QEMU has %#x", cr3, want)
	}
	return stack[0]
}

// hasThreads checks that every thread in /proc is among the names of an editor's view, except
// kernel workers, which start and exit at any time.
func (e *editor) hasThreads(h *host, names []string) {
	e.t.Helper()
	left := slices.Clone(names)
	for _, want := range h.guest.Facts.Threads {
		if strings.HasPrefix(want.Comm, "kworker/") {
			continue
		}
		i := slices.IndexFunc(left, func(name string) bool { return name == want.Comm || strings.HasPrefix(name, want.Comm+" (") })
		if i < 0 {
			e.t.Errorf("%d %s is not among the threads %q", want.TID, want.Comm, names)
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	for _, name := range left {
		if !strings.HasPrefix(name, "kworker/") && !strings.HasPrefix(name, "swapper/") {
			e.t.Errorf("thread %q was not there", name)
		}
	}
}

// gdbEvaluates compares expressions, commands, memory and code.
func (e *editor) gdbEvaluates(h *host, at frame) {
	e.t.Helper()
	t, kallsyms := e.t, h.guest.Facts.Kallsyms
	comm := e.watch(at, "init_task.comm")
	if got := e.variables(comm.Children)["[0]"].Value; !strings.HasPrefix(got, "115 's'") { // of swapper/0
		t.Errorf("init_task.comm[0] is %q", got)
	}
	for expression, want := range map[string]string{
		"nr_cpu_ids":             fmt.Sprint(h.guest.Facts.CPUs),
		"&linux_banner":          fmt.Sprintf("%#x <linux_banner>", kallsyms["linux_banner"]),
		"(char *)init_task.comm": `"swapper/0"`,
	} {
		if got := e.watch(at, expression).Result; !strings.Contains(got, want) {
			t.Errorf("%s is %q, want %q", expression, got, want)
		}
	}
	for command, want := range map[string]string{
		">p/x jiffies":               "= " + h.qemuWord(t, kallsyms["jiffies"]),
		">info symbol vfs_read":      "vfs_read in section .text",
		">monitor vtop linux_banner": "phys ",
		">monitor no_such_command":   "try: monitor help",
		">monitor dmesg -n 1":        "end Kernel panic",
		">info threads 1":            `* 1    Thread 1.` + fmt.Sprint(h.guest.Facts.PanicPID) + ` "init" (panicked: `,
		">info line vfs_read":        fmt.Sprintf("starts at address %#x <vfs_read>", kallsyms["vfs_read"]),
	} {
		before := len(e.Printed())
		e.do("evaluate", args{"expression": command, "context": "repl"}, nil)
		if got := e.Printed()[before:]; !strings.Contains(got, want) {
			t.Errorf("%s printed %q, want %q", command, got, want)
		}
	}

	e.refused("No symbol", "evaluate", args{"expression": ">p no_such_symbol", "context": "repl"})

	banner := "Linux version " + h.guest.Facts.Release + " "
	if got := e.memory(fmt.Sprintf("%#x", kallsyms["linux_banner"]), len(banner)); got != banner {
		t.Errorf("the memory at linux_banner is %q, want %q", got, banner)
	}
	e.refused("Unable to read memory", "readMemory", args{"memoryReference": "0x1000", "count": 16})

	var code struct {
		Instructions []struct{ Address, InstructionBytes, Symbol string }
	}
	e.do("disassemble", args{"memoryReference": fmt.Sprintf("%#x", kallsyms["vfs_read"]), "instructionCount": 8}, &code)
	if len(code.Instructions) != 8 || code.Instructions[0].Address != fmt.Sprintf("0x%016x", kallsyms["vfs_read"]) {
		t.Fatalf("vfs_read disassembles to %+v", code)
	}
	h.isCode(t, kallsyms["vfs_read"], code.Instructions[0].InstructionBytes)
}

// isCode compares the bytes of an instruction with QEMU's.
func (h *host) isCode(t *testing.T, va uint64, instruction string) {
	t.Helper()
	word, err := strconv.ParseUint(h.qemuWord(t, va), 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	digits := strings.ReplaceAll(instruction, " ", "")
	var want strings.Builder
	for i := range len(digits) / 2 {
		fmt.Fprintf(&want, "%02x", byte(word>>(8*i)))
	}
	if digits == "" || digits != want.String() {
		t.Errorf("the code at %#x is %q, QEMU has %q", va, digits, want.String())
	}
}

func (e *editor) memory(reference string, count int) string {
	e.t.Helper()
	var body struct{ Data string }
	e.do("readMemory", args{"memoryReference": reference, "count": count}, &body)
	data, err := base64.StdEncoding.DecodeString(body.Data)
	if err != nil {
		e.t.Errorf("readMemory: %v", err)
	}
	return string(data)
}

// gdbCannotRun sends each request that resumes a program, and expects a stop at once, in the same
// thread.
func (e *editor) gdbCannotRun(at frame) {
	e.t.Helper()
	for _, run := range []struct {
		command, granularity, reason string
	}{
		{"continue", "", "SIGINT"}, {"next", "", "SIGINT"}, {"stepIn", "", "SIGINT"}, {"next", "instruction", "SIGINT"},
		{"stepIn", "instruction", "SIGINT"}, {"stepOut", "", "error"}, {"continue", "", "SIGINT"},
	} {
		e.do("threads", nil, nil) // the adapter selects one after the other
		a := args{"threadId": 1}
		if run.granularity != "" {
			a["granularity"] = run.granularity
		}
		if got := e.stops(run.command, a); got != (stopped{run.reason, 1}) {
			e.t.Errorf("%s %s: stopped by %+v", run.command, run.granularity, got)
		}
		e.do("pause", args{"threadId": 1}, nil) // an editor may send that before it receives the stop event
		if got := e.stack(1)[0].PC; got != at.PC {
			e.t.Errorf("%s went to %s", run.command, got)
		}
	}
}

// gdbCannotBreak sets breakpoints. gdb accepts them, fails to insert them at the next resume, and
// fails again until they are deleted.
func (e *editor) gdbCannotBreak() {
	e.t.Helper()
	var set struct {
		Breakpoints []struct{ Verified bool }
	}
	e.do("setFunctionBreakpoints", args{"breakpoints": []args{{"name": "vfs_read"}}}, &set)
	if len(set.Breakpoints) != 1 || !set.Breakpoints[0].Verified {
		e.t.Errorf("a breakpoint at vfs_read: %+v", set)
	}
	before := len(e.Printed())
	if got := e.stops("continue", args{"threadId": 1}); got.Reason != "error" {
		e.t.Errorf("with a breakpoint: stopped by %+v", got)
	}
	if got := e.Printed()[before:]; !strings.Contains(got, "Cannot insert breakpoint") {
		e.t.Errorf("no error for a breakpoint, but %q", got)
	}
	e.do("setFunctionBreakpoints", args{"breakpoints": []args{}}, nil)
	if got := e.stops("continue", args{"threadId": 1}); got.Reason != "SIGINT" {
		e.t.Errorf("without breakpoints again: stopped by %+v", got)
	}
}

// gdbCannotWrite tries to change a variable and a register.
func (e *editor) gdbCannotWrite(h *host) {
	e.t.Helper()
	nr := fmt.Sprintf("%#x", h.guest.Facts.Kallsyms["nr_cpu_ids"])
	e.refused("Cannot access memory", "writeMemory", args{"memoryReference": nr, "data": "AAAA"})
	e.refused("Cannot access memory", "evaluate", args{"expression": ">set var nr_cpu_ids = 7", "context": "repl"})
	e.refused("only reads", "evaluate", args{"expression": ">set var $rax = 7", "context": "repl"})
}
