package guest

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Death has the facts about a panic in a kernel's log. The log of a running kernel has only the
// uptime and the first task that hung: panic() prints the slide, too.
type Death struct {
	// PanicMessage is what follows "Kernel panic - not syncing: ".
	PanicMessage string `json:"panic_message"`
	// PanicCPU, PanicPID and PanicComm are the CPU that panicked and the task that was on it.
	PanicCPU  int    `json:"panic_cpu"`
	PanicPID  int    `json:"panic_pid"`
	PanicComm string `json:"panic_comm"`
	// Taint is the text between "Tainted: " and the release when the trace was printed, such as
	// "G OE"; "" for "Not tainted". An oops sets its own flag, D, only afterwards.
	Taint string `json:"taint"`
	// Slide is the slide of KASLR, from the line "Kernel Offset".
	Slide uint64 `json:"slide"`
	// Uptime is the time stamp of the last line.
	Uptime time.Duration `json:"uptime"`

	// Frames are the functions on the stack of the panic, innermost first: of the trace that
	// panic() prints, or, after an oops, of the trace of the oops, which omits the function that
	// caused it, see OopsRIP.
	Frames []Frame `json:"frames"`
	// CallTrace has the names of Frames.
	CallTrace []string `json:"call_trace"`

	// OopsRIP is the instruction that caused the first oops; nil if there was none.
	OopsRIP *Frame `json:"oops_rip"`
	// OopsRegisters are the registers that the first oops printed, by gdb's names (rax, eflags, cs,
	// fs_base, gs_base) and cr0, cr2, cr3, cr4, orig_rax, kernel_gs_base. There is no rip: the log
	// names it by symbol alone.
	OopsRegisters map[string]uint64 `json:"oops_registers"`
	// BlockedTrace has the functions on the stack of the first task that was reported to hang.
	BlockedTrace []string `json:"blocked_trace"`
}

// Frame is one line of a trace: "Function+0xOffset/0xSize [Module]".
type Frame struct {
	Function string `json:"function"`
	Offset   uint64 `json:"offset"`
	Size     uint64 `json:"size"`
	Module   string `json:"module,omitempty"` // "" for the kernel itself
	// Stack is the kernel's name of the stack, such as "IRQ", "NMI" or "TASK".
	Stack string `json:"stack,omitempty"`
	// Interrupted is true if the function was interrupted there, or caused an exception, instead of
	// making a call.
	Interrupted bool `json:"interrupted,omitempty"`
}

// Lines that a kernel prints when it panics (kernel/panic.c, lib/dump_stack.c,
// arch/x86/kernel/dumpstack.c, kernel/hung_task.c). Between kernel versions UID: has come, and
// "Oops: " in front of the name of the exception.
var (
	panicLine = regexp.MustCompile(`^Kernel panic - not syncing:(?: (.*))?$`)
	taskLine  = regexp.MustCompile(`^CPU: (\d+) (?:UID: \d+ )?PID: (\d+) Comm: (.*?) ` +
		`(?:Not tainted|Tainted: ([A-Z ]*[A-Z])) +\d`)
	offsetLine  = regexp.MustCompile(`^Kernel Offset: 0x([0-9a-f]+) from`)
	oopsLine    = regexp.MustCompile(`: [0-9a-f]{4} \[#1\]`)
	blockedLine = regexp.MustCompile(`^INFO: task .* blocked for more than \d+ seconds`)
	traceLine   = regexp.MustCompile(`^Call Trace:$`)
	traceEnd    = regexp.MustCompile(`^ </TASK>$|^---\[ end `)
	stackLine   = regexp.MustCompile(`^ <(?:/.*|([#\w-]+))>$`)
	ripLine     = regexp.MustCompile(`^RIP: 0010:(.*)$`)
	frameText   = regexp.MustCompile(`^ *([\w.]+)\+0x([0-9a-f]+)/0x([0-9a-f]+)(?: \[(\w+)\])?$`)
	// "RSP: 0018:ffff… EFLAGS: 00010246", "FS:  0000…(0000) GS:ffff…(0000) knlGS:0000…"
	registerText = regexp.MustCompile(`(\w+): *(?:([0-9a-f]{4}):)?([0-9a-f]+)(?:\(([0-9a-f]{4})\))?`)
)

// ParseDeath reads the log of a kernel, see [ParseKernelLog].
func ParseDeath(log []LogLine) Death {
	var d Death
	if len(log) == 0 {
		return d
	}
	d.Uptime = log[len(log)-1].Time
	if _, found := find(log, offsetLine); found != nil {
		d.Slide = parseHex(found[1])
	}
	if blocked := from(log, blockedLine); blocked != nil {
		d.BlockedTrace = names(trace(from(blocked, traceLine)))
	}
	end, message := find(log, panicLine)
	if message == nil {
		return d
	}
	d.PanicMessage = message[1]
	if d.PanicMessage == "" && end+1 < len(log) { // 5.10 with PREEMPT_RT has it on a line of its own
		d.PanicMessage = log[end+1].Text
	}
	before, after := log[:end], log[end:]
	d.readOops(from(before, oopsLine))
	d.readTask(lastOr(before, after, taskLine))
	d.Frames = trace(lastOr(before, after, traceLine))
	d.CallTrace = names(d.Frames)
	return d
}

// find returns the first line of a kind.
func find(log []LogLine, kind *regexp.Regexp) (at int, found []string) {
	for i, line := range log {
		if found := kind.FindStringSubmatch(line.Text); found != nil {
			return i, found
		}
	}
	return 0, nil
}

// from returns the log from the first line of a kind on, or nil.
func from(log []LogLine, kind *regexp.Regexp) []LogLine {
	if at, found := find(log, kind); found != nil {
		return log[at:]
	}
	return nil
}

// lastOr returns the log from the first line of a kind after the panic's own, or from the last one
// before it: panic() does not repeat what an oops has printed.
func lastOr(before, after []LogLine, kind *regexp.Regexp) []LogLine {
	if own := from(after, kind); own != nil {
		return own
	}
	for i := len(before) - 1; i >= 0; i-- {
		if kind.MatchString(before[i].Text) {
			return before[i:]
		}
	}
	return nil
}

func (d *Death) readTask(log []LogLine) {
	_, found := find(log, taskLine)
	if found == nil {
		return
	}
	d.PanicCPU, _ = strconv.Atoi(found[1])
	d.PanicPID, _ = strconv.Atoi(found[2])
	d.PanicComm, d.Taint = found[3], found[4]
}

// readOops parses the registers that an oops prints before its trace.
func (d *Death) readOops(log []LogLine) {
	at, found := find(log, ripLine)
	if found == nil {
		return
	}
	if rip, ok := parseFrame(found[1]); ok {
		rip.Interrupted = true
		d.OopsRIP = &rip
	}
	d.OopsRegisters = map[string]uint64{}
	for _, line := range log[at+1:] {
		if traceLine.MatchString(line.Text) {
			break
		}
		if !strings.HasPrefix(line.Text, "Code:") {
			d.readRegisters(line.Text)
		}
	}
}

func (d *Death) readRegisters(text string) {
	for _, found := range registerText.FindAllStringSubmatch(text, -1) {
		name, value := registerName(found[1]), parseHex(found[3])
		switch name {
		case "rsp":
			d.OopsRegisters["ss"] = parseHex(found[2])
		case "fs", "gs":
			d.OopsRegisters[name] = parseHex(found[4])
			name += "_base"
		}
		d.OopsRegisters[name] = value
	}
}

// registerName turns the log's name of a register into gdb's.
func registerName(name string) string {
	switch name {
	case "R08", "R09":
		return "r" + name[2:]
	case "knlGS":
		return "kernel_gs_base"
	}
	return strings.ToLower(name)
}

// trace reads the functions that a "Call Trace:" names, without those that it marks with "?" as
// doubtful. A RIP inside it is that of the interrupted code.
func trace(log []LogLine) []Frame {
	var frames []Frame
	stack := ""
	for _, line := range log {
		if traceEnd.MatchString(line.Text) {
			break
		}
		if found := stackLine.FindStringSubmatch(line.Text); found != nil {
			stack = found[1] // "" where one ends
			continue
		}
		text, interrupted := line.Text, false
		if found := ripLine.FindStringSubmatch(text); found != nil {
			text, interrupted = found[1], true
		}
		if frame, ok := parseFrame(text); ok {
			frame.Stack, frame.Interrupted = stack, interrupted
			frames = append(frames, frame)
		}
	}
	return frames
}

func parseFrame(text string) (f Frame, ok bool) {
	found := frameText.FindStringSubmatch(text)
	if found == nil {
		return f, false
	}
	return Frame{Function: found[1], Offset: parseHex(found[2]), Size: parseHex(found[3]), Module: found[4]}, true
}

func names(frames []Frame) []string {
	var all []string
	for _, f := range frames {
		all = append(all, f.Function)
	}
	return all
}

// parseHex parses digits that a pattern has matched; it returns 0 if they do not fit in 64 bits.
func parseHex(digits string) uint64 {
	n, err := strconv.ParseUint(digits, 16, 64)
	if err != nil {
		return 0
	}
	return n
}
