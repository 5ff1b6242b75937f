package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"physgdb/test/session"
)

// TestLLDBAdapter drives lldb's own debug adapter as an editor does.
func TestLLDBAdapter(t *testing.T) {
	h := hosts[2].ready(t) // no cold function is on the stack of its panic, see plainVmlinux
	stub := serve(t, adapter(t, h), "--vmlinux", h.guest.Kernel.Vmlinux)
	for _, name := range []string{"first", "again"} {
		t.Run(name, func(t *testing.T) {
			d, err := session.StartLLDBAdapter(limited(t, 3*time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			e := edit(t, "lldb-vscode", stub, d)
			e.attachLLDB(h)
			e.lldbLooks(h)
			e.lldbCannotRun(h)
			e.lldbLooks(h)
			e.do("disconnect", args{"terminateDebuggee": false}, nil)
		})
	}
}

// attachLLDB connects to the stub and expects a stop in the thread that panicked, at once.
func (e *editor) attachLLDB(h *host) {
	e.t.Helper()
	e.do("initialize", args{"adapterID": "lldb-vscode", "linesStartAt1": true}, nil)
	e.do("attach", e.configuration(h, "lldb-dap"), nil)
	if err := e.Await(limited(e.t, time.Second), "initialized", nil); err != nil {
		e.t.Fatal(err)
	}
	if at := e.stops("configurationDone", nil); at.ThreadID != h.guest.Facts.PanicPID {
		e.t.Errorf("it stopped in thread %d, %d panicked", at.ThreadID, h.guest.Facts.PanicPID)
	}
	_ = e.Await(limited(e.t, 300*time.Millisecond), "stopped", nil) // lldb's adapter may report the same stop twice
}

// typed types a command of lldb into the debug console and checks that its output contains want.
func (e *editor) typed(want, command string) {
	e.t.Helper()
	var answer struct{ Result string }
	e.do("evaluate", args{"expression": "`" + command, "context": "repl"}, &answer)
	if !strings.Contains(answer.Result, want) {
		e.t.Errorf("%s printed %q, want %q in it", command, answer.Result, want)
	}
}

// lldbLooks compares threads and memory, and runs a monitor command.
func (e *editor) lldbLooks(h *host) {
	e.t.Helper()
	var body struct{ Threads []struct{ ID int } }
	e.do("threads", nil, &body)
	for _, want := range h.guest.Facts.Threads {
		there := slices.ContainsFunc(body.Threads, func(t struct{ ID int }) bool { return t.ID == want.TID })
		if !there && !strings.HasPrefix(want.Comm, "kworker/") { // those start and exit at any time
			e.t.Errorf("%d %s is not among the threads", want.TID, want.Comm)
		}
	}
	jiffies := h.guest.Facts.Kallsyms["jiffies"]
	word, _ := strings.CutPrefix(h.qemuWord(e.t, jiffies), "0x")
	e.typed(": 0x"+strings.Repeat("0", 16-len(word))+word+"\n", fmt.Sprintf("memory read --format x --size 8 --count 1 %#x", jiffies))
	e.typed("end Kernel panic", "process plugin packet monitor dmesg -n 1")
}

// lldbCannotRun sends each request that resumes or changes a program.
func (e *editor) lldbCannotRun(h *host) {
	e.t.Helper()
	thread := args{"threadId": h.guest.Facts.PanicPID}
	var set struct{ Breakpoints []struct{ Verified bool } }
	e.do("setFunctionBreakpoints", args{"breakpoints": []args{{"name": "vfs_read"}}}, &set)
	if len(set.Breakpoints) != 1 || set.Breakpoints[0].Verified {
		e.t.Errorf("a breakpoint at vfs_read: %+v", set)
	}
	for _, command := range []string{"continue", "next", "stepIn", "stepOut", "continue"} {
		before := len(e.Printed())
		if got := e.stops(command, thread); got.ThreadID != h.guest.Facts.PanicPID {
			e.t.Errorf("%s: stopped in thread %d", command, got.ThreadID)
		}
		if got := e.Printed()[before:]; !strings.Contains(got, "This machine is dead (panicked: ") {
			e.t.Errorf("%s printed %q", command, got)
		}
		if stack := e.stack(h.guest.Facts.PanicPID); stack[0].Name != "panic" {
			e.t.Errorf("after %s the innermost frame is %+v", command, stack[0])
		}
	}
	e.typed("error: ", "register write rip 7")
	e.typed("error: ", fmt.Sprintf("memory write %#x 7", h.guest.Facts.Kallsyms["jiffies"]))
}
