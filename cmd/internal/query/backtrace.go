package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"physgdb/bridge"
	"physgdb/cmd/internal/machine"
	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/symbols/dwarf"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/klog"
	"physgdb/symbols/linux/unwind"
)

// Backtrace is the backtrace of a task.
type Backtrace struct {
	PID       int     `json:"pid"` // of its process
	TID       int     `json:"tid"`
	Comm      string  `json:"comm"`
	State     string  `json:"state"`
	CPU       int     `json:"cpu"`
	Running   bool    `json:"running"`
	Panicked  bool    `json:"panicked"`
	Task      Address `json:"task"`
	Registers string  `json:"registers,omitempty"` // in words, where they were found
	// Rests is where the CPU itself spends its time, if the registers are those of an earlier
	// moment.
	Rests  string     `json:"rests,omitempty"`
	Frames []Frame    `json:"frames"`
	User   *UserEntry `json:"user,omitempty"`
	// Lost is why there is no more of it. It is empty if it goes to the first function of the task
	// or to user space.
	Lost string `json:"lost,omitempty"`

	offline bool // there is nothing to be had of it: its CPU was not up
}

// Frame is one function that had not returned.
type Frame struct {
	SP       Address      `json:"sp"`
	PC       Address      `json:"pc"` // the next instruction, or the one after the call
	Function string       `json:"function,omitempty"`
	Offset   Address      `json:"offset"`
	Size     Address      `json:"size"` // of the function, in bytes
	Module   string       `json:"module,omitempty"`
	File     string       `json:"file,omitempty"`
	Line     int          `json:"line,omitempty"`
	Inlined  []Inlined    `json:"inlined,omitempty"` // innermost first
	Stack    string       `json:"stack"`             // TASK, IRQ, NMI…, or empty if it is none that is known
	Guessed  bool         `json:"guessed,omitempty"` // the unwind tables do not have it; a frame pointer or the stack suggests it
	Regs     *Interrupted `json:"interrupted,omitempty"`
}

// Inlined is a function that the compiler put into another.
type Inlined struct {
	Function string `json:"function"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
}

// Interrupted is what an exception or interrupt found, and left.
type Interrupted struct {
	RIP     Address            `json:"rip"`
	RSP     Address            `json:"rsp"`
	CS      Address            `json:"cs"`
	Flags   Address            `json:"eflags"`
	OrigRAX int64              `json:"orig_rax"`
	All     map[string]Address `json:"registers"`
}

// UserEntry is where user space entered the kernel.
type UserEntry struct {
	RIP     Address            `json:"rip"`
	RSP     Address            `json:"rsp"`
	Syscall *int64             `json:"syscall,omitempty"` // its number, unless an interrupt or an exception entered
	All     map[string]Address `json:"registers"`
}

// BacktraceOptions select backtraces.
type BacktraceOptions struct {
	// Words name tasks; see [Tasks]. The word cpus names those on a CPU, blocked the blocked ones,
	// and all every task. Without words it is the task that panicked, or if none did, those on a
	// CPU.
	Words []string
	Lines bool // with source lines and inlined functions
}

// Backtraces calls each for every backtrace that o selects. Its error, or that of each, ends the
// query.
func Backtraces(ctx context.Context, m *machine.Machine, o *BacktraceOptions, each func(*Backtrace) error) error {
	tracer, err := newTracer(ctx, m, o.Lines)
	if err != nil && len(o.Words) == 0 && m.Notice != nil && m.Notice.RIP != nil {
		return cmp.Or(noticedBacktrace(ctx, m, o.Lines, each), fmt.Errorf("nothing else is known about the tasks: %w", err))
	}
	if err != nil {
		return err
	}
	list := &linux.TaskList{All: []*linux.Task{tracer.dead}} // others are not needed if the user wants no more
	if len(o.Words) > 0 || tracer.dead == nil {
		if list, err = m.Kernel.Tasks(ctx); err != nil {
			return err
		}
	}
	tasks, missing := tracer.pick(list, o.Words)
	if len(tasks) == 0 && len(o.Words) == 0 {
		return errors.New("neither the task that panicked nor the tasks on the CPUs are known: memory is missing or damaged; " +
			"bt PID and bt all show the remaining tasks")
	}
	lost, err := tracer.each(ctx, tasks, each)
	if err != nil {
		return err
	}
	if missing != nil {
		return notFound(missing, damage(list.Damage))
	}
	if len(o.Words) == 0 && tracer.dead == nil || slices.ContainsFunc(o.Words, isGroup) {
		err = damage(list.Damage)
	}
	if lost > 0 && err == nil && !m.Live { // what runs has no registers to begin with
		err = fmt.Errorf("%d of %d backtraces are incomplete, for the reasons given after \"lost\"", lost, len(tasks))
	}
	return err
}

// each makes the backtraces of tasks, and returns how many of them are not whole.
func (tr *tracer) each(ctx context.Context, tasks []*linux.Task, each func(*Backtrace) error) (lost int, err error) {
	for i, t := range tasks {
		if i%stacksAhead == 0 {
			tr.readAhead(ctx, tasks[i:min(i+stacksAhead, len(tasks))])
		}
		b, err := tr.trace(ctx, t)
		if err != nil {
			return lost, fmt.Errorf("after %d of %d tasks: %w", i, len(tasks), err)
		}
		if b.Lost != "" && !b.offline {
			lost++
		}
		if err := each(b); err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// noticedBacktrace makes the backtrace of the CPU that sent the notice of its panic, if nothing is
// known of the task itself.
func noticedBacktrace(ctx context.Context, m *machine.Machine, lines bool, each func(*Backtrace) error) error {
	n := m.Notice
	known := NoticedRegisters(m)
	regs := map[symbols.Reg]uint64{}
	for number, name := range RegisterNames {
		if v, ok := known[name]; ok {
			regs[symbols.Reg(number)] = v
		}
	}
	b := &Backtrace{Comm: n.Comm, CPU: m.CPUs[0], Running: true, Panicked: true, Frames: []Frame{}}
	if n.PID != nil {
		b.PID, b.TID = *n.PID, *n.PID
	}
	tr := &tracer{m: m}
	if lines {
		tr.lines = m.SourceLines()
	}
	if err := tr.unwind(ctx, b, unwind.NewRegisters("the notice of the panic", regs), nil); err != nil {
		return err
	}
	return each(b)
}

// pick finds the tasks that a user means.
func (tr *tracer) pick(list *linux.TaskList, words []string) ([]*linux.Task, error) {
	if len(words) == 0 {
		if tr.dead != nil {
			return []*linux.Task{tr.dead}, nil
		}
		words = []string{"cpus"}
	}
	var picked []*linux.Task
	var missing []error
	for _, word := range words {
		found, err := tr.group(list, word)
		if err != nil {
			missing = append(missing, err)
		}
		for _, t := range found {
			if !slices.Contains(picked, t) {
				picked = append(picked, t)
			}
		}
	}
	return picked, errors.Join(missing...)
}

// isGroup reports whether a word names a group of tasks, some of which may be missing from a
// damaged list.
func isGroup(word string) bool { return word == "all" || word == "cpus" || word == "blocked" }

// group returns the tasks that one word names.
func (tr *tracer) group(list *linux.TaskList, word string) ([]*linux.Task, error) {
	switch word {
	case "all":
		return list.All, nil
	case "cpus":
		return tr.onCPUs(list), nil
	case "blocked":
		return slices.DeleteFunc(slices.Clone(list.All), func(t *linux.Task) bool { return !t.Blocked() }), nil
	}
	return pick(list, []string{word})
}

// onCPUs lists the tasks that were running, that which panicked first, then by CPU.
func (tr *tracer) onCPUs(list *linux.TaskList) []*linux.Task {
	var tasks []*linux.Task
	for _, t := range list.All {
		if tr.running[t.Addr] != nil {
			tasks = append(tasks, t)
		}
	}
	rank := func(t *linux.Task) int {
		if tr.isDead(t) {
			return -1
		}
		return tr.running[t.Addr].ID
	}
	slices.SortFunc(tasks, func(a, b *linux.Task) int { return cmp.Compare(rank(a), rank(b)) })
	return tasks
}

// tracer makes the traces of a machine's tasks.
type tracer struct {
	m       *machine.Machine
	running map[uint64]*linux.CPU
	dead    *linux.Task // that panicked, or nil
	lines   *dwarf.Lines
}

func newTracer(ctx context.Context, m *machine.Machine, lines bool) (*tracer, error) {
	onCPU, err := running(ctx, m)
	if err != nil {
		return nil, err
	}
	t := &tracer{m: m, running: onCPU}
	if death, err := m.Kernel.Death(ctx, klog.Newest); err == nil {
		t.dead = death.Task
	}
	if lines {
		t.lines = m.SourceLines()
	}
	return t, ctx.Err()
}

// isDead reports whether a task is the one that panicked.
func (tr *tracer) isDead(t *linux.Task) bool { return tr.dead != nil && t.Addr == tr.dead.Addr }

// stacksAhead is how many stacks are read in one batch: unwinding one takes reads one after the
// other, each of which would otherwise be a round trip.
const stacksAhead = 128

// readAhead reads the used part of stacks, so that a bridge's cache has them. Later reads report
// what is missing.
func (tr *tracer) readAhead(ctx context.Context, tasks []*linux.Task) {
	if bridge.ViewerOf(tr.m.Memory) != nil || len(tasks) == 1 {
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
func (tr *tracer) trace(ctx context.Context, t *linux.Task) (*Backtrace, error) {
	cpu := tr.running[t.Addr]
	b := &Backtrace{
		PID: t.TGID, TID: t.PID, Comm: t.Comm, State: string(t.Letter()), CPU: t.CPU, Running: cpu != nil,
		Panicked: tr.isDead(t), Task: Address(t.Addr), Frames: []Frame{},
	}
	if cpu != nil {
		b.CPU = cpu.ID
	}
	regs, err := tr.m.Unwinder.Registers(ctx, t)
	if err != nil {
		b.Lost, b.offline = err.Error(), errors.Is(err, unwind.ErrOffline)
		return b, ctx.Err()
	}
	if cpu != nil && !regs.AtRest {
		b.Rests = tr.rests(ctx, cpu, t)
	}
	return b, tr.unwind(ctx, b, regs, t)
}

// unwind adds the frames from regs on to a trace, of a task or, if that is not known, nil. The
// error is ctx's.
func (tr *tracer) unwind(ctx context.Context, b *Backtrace, regs *unwind.Registers, t *linux.Task) error {
	b.Registers = regs.From
	found, err := tr.m.Unwinder.Unwind(ctx, regs)
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

// rests returns the function in which a CPU rests.
func (tr *tracer) rests(ctx context.Context, c *linux.CPU, t *linux.Task) string {
	at, err := tr.m.Unwinder.Resting(ctx, c, t)
	if err != nil || at == nil {
		return ""
	}
	return tr.m.Kernel.NameAt(ctx, at.PC())
}

// frame names a function. Inlined functions are known where line tables are.
func (tr *tracer) frame(ctx context.Context, f *unwind.Frame, n int) Frame {
	site := f.CallSite()
	out := Frame{SP: Address(f.SP), PC: Address(f.PC), Guessed: f.Guessed}
	symbolize := tr.m.Kernel.Symbolize
	if site != f.PC {
		symbolize = tr.m.Kernel.SymbolizeReturn
	}
	if place, err := symbolize(ctx, f.PC); err == nil {
		out.Function, out.Module = place.Name, place.Module
		out.Offset, out.Size = Address(place.Offset), Address(place.Size)
	}
	if f.Regs != nil && n > 0 {
		out.Regs = newInterrupted(f.Regs)
	}
	if tr.lines != nil && out.Module == "" {
		out.addLines(tr.lines, site-tr.m.Kernel.Slide)
	}
	return out
}

// addLines finds the source line at a link Address, and what was Inlined there.
func (f *Frame) addLines(lines *dwarf.Lines, pc uint64) {
	source, err := lines.Frames(pc)
	if err != nil || len(source) == 0 {
		return
	}
	for _, s := range source[:len(source)-1] {
		f.Inlined = append(f.Inlined, Inlined{s.Function, s.File, s.Line})
	}
	outer := source[len(source)-1]
	f.File, f.Line = outer.File, outer.Line
}

func newInterrupted(r *unwind.Registers) *Interrupted {
	return &Interrupted{
		RIP: Address(r.PC()), RSP: Address(r.SP()), CS: Address(r.CS), Flags: Address(r.Flags), OrigRAX: r.OrigRAX,
		All: registerMap(r),
	}
}

func newUserSide(r *unwind.Registers) *UserEntry {
	u := &UserEntry{RIP: Address(r.PC()), RSP: Address(r.SP()), All: registerMap(r)}
	if r.OrigRAX >= 0 {
		u.Syscall = &r.OrigRAX
	}
	return u
}
