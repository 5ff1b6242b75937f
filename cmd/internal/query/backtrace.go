package host

import (
	"context"
	"errors"

	"physgdb/symbols/linux/klog"

	"physgdb/bridge"
	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/symbols/dwarf"
	"physgdb/symbols/linux"
)

// trace is the backtrace of a task, as JSON shows it.
type trace struct {
	PID       int     `json:"pid"` // of its process
	TID       int     `json:"tid"`
	Comm      string  `json:"comm"`
	State     string  `json:"state"`
	CPU       int     `json:"cpu"`
	Running   bool    `json:"running"`
	Panicked  bool    `json:"panicked"`
	Task      address `json:"task"`
	Registers string  `json:"registers,omitempty"` // in words, where they were found
	// Rests is where the CPU itself spends its time, if the registers are those of an earlier moment.
	Rests  string       `json:"rests,omitempty"`
	Frames []traceFrame `json:"frames"`
	User   *userSide    `json:"user,omitempty"`
	// Lost is why there is no more of it. It is empty if it goes to the first function of the task or to user space.
	Lost string `json:"lost,omitempty"`

	offline bool // there is nothing to be had of it: its CPU was not up
}

// traceFrame is one function that had not returned.
type traceFrame struct {
	SP       address      `json:"sp"`
	PC       address      `json:"pc"` // the next instruction, or the one behind the call
	Function string       `json:"function,omitempty"`
	Offset   address      `json:"offset"`
	Size     address      `json:"size"` // of the function, in bytes
	Module   string       `json:"module,omitempty"`
	File     string       `json:"file,omitempty"`
	Line     int          `json:"line,omitempty"`
	Inlined  []inlined    `json:"inlined,omitempty"` // innermost first
	Stack    string       `json:"stack"`             // TASK, IRQ, NMI…, or empty if it is none that is known
	Guessed  bool         `json:"guessed,omitempty"` // that it called the one before; no unwind table tells
	Regs     *interrupted `json:"interrupted,omitempty"`
}

// inlined is a function that the compiler put into another.
type inlined struct {
	Function string `json:"function"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
}

// interrupted is what an exception or interrupt found, and left.
type interrupted struct {
	RIP     address            `json:"rip"`
	RSP     address            `json:"rsp"`
	CS      address            `json:"cs"`
	Flags   address            `json:"eflags"`
	OrigRAX int64              `json:"orig_rax"`
	All     map[string]address `json:"registers"`
}

// userSide is where user space entered the kernel.
type userSide struct {
	RIP     address            `json:"rip"`
	RSP     address            `json:"rsp"`
	Syscall *int64             `json:"syscall,omitempty"` // its number, unless an interrupt or an exception entered
	All     map[string]address `json:"registers"`
}

// tracer makes the traces of a machine's tasks.
type tracer struct {
	m       *Machine
	running map[uint64]*linux.CPU
	dead    *linux.Task // that panicked, or nil
	lines   *dwarf.Lines
}

func (m *Machine) newTracer(ctx context.Context, lines bool) (*tracer, error) {
	running, err := m.running(ctx)
	if err != nil {
		return nil, err
	}
	t := &tracer{m: m, running: running}
	if death, err := m.Kernel.Death(ctx, klog.Newest); err == nil {
		t.dead = death.Task
	}
	if lines {
		t.lines = m.sourceLines()
	}
	return t, ctx.Err()
}

// isDead reports whether a task is the one that panicked.
func (tr *tracer) isDead(t *linux.Task) bool { return tr.dead != nil && t.Addr == tr.dead.Addr }

// stacksAhead is how many stacks are read in one batch: unwinding one takes reads one after the other, each of which would
// otherwise be a round trip.
const stacksAhead = 128

// readAhead reads the used part of stacks, so that a bridge's cache has them. Who reads them misses what is not there.
func (tr *tracer) readAhead(ctx context.Context, tasks []*linux.Task) {
	if bridge.ViewerOf(tr.m.Memory.Memory) != nil || len(tasks) == 1 {
		return
	}
	var ops []mmu.Op
	for _, t := range tasks {
		for at := t.SP; at >= t.Stack && at < t.StackEnd(); at = at&^(mmu.PageSize-1) + mmu.PageSize {
			ops = append(ops, mmu.Op{VA: at, Buf: make([]byte, mmu.PageSize-at%mmu.PageSize)})
		}
	}
	tr.m.Kernel.Space.ReadAll(ctx, ops)
}

// trace makes the backtrace of a task. The error is ctx's.
func (tr *tracer) trace(ctx context.Context, t *linux.Task) (*trace, error) {
	cpu := tr.running[t.Addr]
	b := &trace{
		PID: t.TGID, TID: t.PID, Comm: t.Comm, State: string(t.Letter()), CPU: t.CPU, Running: cpu != nil,
		Panicked: tr.isDead(t), Task: address(t.Addr), Frames: []traceFrame{},
	}
	if cpu != nil {
		b.CPU = cpu.ID
	}
	regs, err := tr.m.Kernel.Registers(ctx, t)
	if err != nil {
		b.Lost, b.offline = err.Error(), errors.Is(err, linux.ErrOffline)
		return b, ctx.Err()
	}
	if cpu != nil && !regs.AtRest {
		b.Rests = tr.rests(ctx, cpu, t)
	}
	return b, tr.unwind(ctx, b, regs, t)
}

// unwind adds the frames from regs on to a trace, of a task or, if that is not known, nil. The error is ctx's.
func (tr *tracer) unwind(ctx context.Context, b *trace, regs *linux.Registers, t *linux.Task) error {
	b.Registers = regs.From
	found, err := tr.m.Kernel.Unwind(ctx, regs)
	if err != nil {
		return err
	}
	for i := range found.Frames {
		f := tr.frame(ctx, &found.Frames[i], i)
		if t != nil {
			f.Stack = tr.m.Kernel.StackName(ctx, t, uint64(f.SP))
		}
		b.Frames = append(b.Frames, f)
	}
	if found.User != nil {
		b.User = newUserSide(found.User)
	}
	if found.Err != nil {
		b.Lost = found.Err.Error()
	}
	return ctx.Err()
}

// rests tells in which function a CPU rests.
func (tr *tracer) rests(ctx context.Context, c *linux.CPU, t *linux.Task) string {
	at, err := tr.m.Kernel.Resting(ctx, c, t)
	if err != nil || at == nil {
		return ""
	}
	return tr.m.Kernel.NameAt(ctx, at.PC())
}

// frame names a function. Inlined functions are known where line tables are.
func (tr *tracer) frame(ctx context.Context, f *linux.Frame, n int) traceFrame {
	site := f.CallSite()
	out := traceFrame{SP: address(f.SP), PC: address(f.PC), Guessed: f.Guessed}
	symbolize := tr.m.Kernel.Symbolize
	if site != f.PC {
		symbolize = tr.m.Kernel.SymbolizeReturn
	}
	if place, err := symbolize(ctx, f.PC); err == nil {
		out.Function, out.Module = place.Name, place.Module
		out.Offset, out.Size = address(place.Offset), address(place.Size)
	}
	if f.Regs != nil && n > 0 {
		out.Regs = newInterrupted(f.Regs)
	}
	if tr.lines != nil && out.Module == "" {
		out.addLines(tr.lines, site-tr.m.Kernel.Slide)
	}
	return out
}

// addLines finds the source line at a link address, and what was inlined there.
func (f *traceFrame) addLines(lines *dwarf.Lines, pc uint64) {
	source, err := lines.Frames(pc)
	if err != nil || len(source) == 0 {
		return
	}
	for _, s := range source[:len(source)-1] {
		f.Inlined = append(f.Inlined, inlined{s.Function, s.File, s.Line})
	}
	outer := source[len(source)-1]
	f.File, f.Line = outer.File, outer.Line
}

func newInterrupted(r *linux.Registers) *interrupted {
	return &interrupted{
		RIP: address(r.PC()), RSP: address(r.SP()), CS: address(r.CS), Flags: address(r.Flags), OrigRAX: r.OrigRAX,
		All: registerMap(r),
	}
}

func newUserSide(r *linux.Registers) *userSide {
	u := &userSide{RIP: address(r.PC()), RSP: address(r.SP()), All: registerMap(r)}
	if r.OrigRAX >= 0 {
		u.Syscall = &r.OrigRAX
	}
	return u
}

// registerMap returns the registers that are known, by gdb's names.
func registerMap(r *linux.Registers) map[string]address {
	known := map[string]address{}
	for number, name := range registerNames {
		if v, ok := r.Get(symbols.Reg(number)); ok {
			known[name] = address(v)
		}
	}
	return known
}
