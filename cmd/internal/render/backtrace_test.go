package render

import (
	"encoding/json"
	"strings"
	"testing"

	"physgdb/cmd/internal/query"
	"physgdb/test/rig"

	"github.com/google/go-cmp/cmp"
)

// oopsTrace is the trace of a task that an interrupt stopped in a module.
func oopsTrace() *query.Backtrace {
	return &query.Backtrace{
		PID: 1, TID: 136, Comm: "init", State: "R", CPU: 1, Running: true, Task: 0xffff888003a44000, Registers: "the oops",
		Rests: "panic+0x232/0x3a0",
		Frames: []query.Frame{
			{SP: 0xffffc90000003fc0, PC: 0xffffffff8105093a, Function: "stop_this_cpu", Offset: 0x4a, Size: 0xc0, Stack: "IRQ",
				File: "arch/x86/kernel/process.c", Line: 825},
			{SP: 0xffffc900004bbe28, PC: 0xffffffff8200166a, Function: "asm_sysvec_reboot", Offset: 0x1a, Size: 0x20, Stack: "TASK"},
			{SP: 0xffffc900004bbed8, PC: 0xffffffffc04e1095, Function: "spin", Offset: 5, Size: 0x10, Module: "trouble",
				Stack: "TASK", Inlined: []query.Inlined{{Function: "cpu_relax", File: "asm/processor.h", Line: 29}, {Function: "wait"}},
				Regs: &query.Interrupted{RIP: 0xffffffffc04e1095, RSP: 0xffffc900004bbed8, CS: 0x10, Flags: 0x246, OrigRAX: -1}},
			{SP: 0xffffc900004bbee0, PC: 0xffffffffc04ff000, Stack: "TASK"},
		},
		User: &query.UserEntry{RIP: 0x40a74e, RSP: 0x7ffc0010, Syscall: new(int64)},
	}
}

func TestTraceForPeople(t *testing.T) {
	panicked := &query.Backtrace{PID: 7, TID: 7, Comm: "a\x1bb", CPU: 2, Panicked: true, Running: true, Task: 0x1000,
		Frames: []query.Frame{{SP: 0x2000, PC: 0x3000, Function: "panic", Offset: 1, Size: 2, Stack: "TASK"}}}
	lost := &query.Backtrace{PID: 7, TID: 7, Comm: "sh", State: "D", Task: 0x1000, Lost: "its stack is\ndamaged"}
	irq := oopsTrace()
	irq.User.Syscall = nil
	irq.Frames, irq.Rests, irq.Lost = nil, "", "and more"
	for name, tc := range map[string]struct {
		b    *query.Backtrace
		want string
	}{
		"across stacks": {oopsTrace(), `
PID: 1  TID: 136  TASK: 0xffff888003a44000  CPU: 1  STATE: running  COMM: "init"  REGISTERS: the oops
 <IRQ>
#0  [0xffffc90000003fc0] stop_this_cpu+0x4a/0xc0 at 0xffffffff8105093a (arch/x86/kernel/process.c:825)
 </IRQ>
 <TASK>
#1  [0xffffc900004bbe28] asm_sysvec_reboot+0x1a/0x20 at 0xffffffff8200166a
    interrupted: RIP 0xffffffffc04e1095  RSP 0xffffc900004bbed8  CS 0x10  EFLAGS 0x246  ORIG_RAX -1
#2                      cpu_relax (inlined) (asm/processor.h:29)
#2                      wait (inlined)
#2  [0xffffc900004bbed8] spin+0x5/0x10 [trouble] at 0xffffffffc04e1095
#3  [0xffffc900004bbee0] ? at 0xffffffffc04ff000
 user: RIP 0x40a74e  RSP 0x7ffc0010  system call 0
 CPU 1 itself stopped in panic+0x232/0x3a0
`},
		"on the task's stack alone": {panicked, `
PID: 7  TASK: 0x1000  CPU: 2  STATE: panicked  COMM: "a\x1bb"
#0  [0x2000] panic+0x1/0x2 at 0x3000
 the first function of the task
`},
		"none": {lost, `
PID: 7  TASK: 0x1000  CPU: 0  STATE: D  COMM: "sh"
 lost: its stack is damaged
`},
		"interrupted user space, and a reason": {irq, `
PID: 1  TID: 136  TASK: 0xffff888003a44000  CPU: 1  STATE: running  COMM: "init"  REGISTERS: the oops
 user: RIP 0x40a74e  RSP 0x7ffc0010  interrupted
 lost: and more
`},
	} {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			rig.Must(t, Backtraces.Row(&text, tc.b))
			if diff := cmp.Diff(tc.want[1:], text.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTraceAsJSON(t *testing.T) {
	text, err := json.Marshal(oopsTrace())
	rig.Must(t, err)
	for _, want := range []string{
		`"pid":1,"tid":136,"comm":"init"`, `"rests":"panic+0x232/0x3a0"`, `"task":"0xffff888003a44000"`,
		`{"sp":"0xffffc90000003fc0","pc":"0xffffffff8105093a","function":"stop_this_cpu","offset":"0x4a","size":"0xc0",` +
			`"file":"arch/x86/kernel/process.c","line":825,"stack":"IRQ"}`,
		`"interrupted":{"rip":"0xffffffffc04e1095","rsp":"0xffffc900004bbed8","cs":"0x10","eflags":"0x246","orig_rax":-1`,
		`"inlined":[{"function":"cpu_relax","file":"asm/processor.h","line":29},{"function":"wait"}]`, `"syscall":0`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
