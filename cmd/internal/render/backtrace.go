package host

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"physgdb/gdbstub"
	"physgdb/internal/plain"
	"physgdb/symbols"
	"physgdb/symbols/linux"
)

func btCommand() Command {
	return Command{
		Name: "bt", Args: "[PID|NAME|cpus|blocked|all]...",
		Help: "backtraces: of the task that panicked, of others, of all CPUs, of blocked tasks, of all",
		About: `Without words it is the task that panicked or, if none did, those that were running. Frames are found by the
kernel's own unwind tables, across interrupts, up to user space. A frame is its number, stack pointer, function and the
offset in it as the kernel's traces have them, address, and line of the source where vmlinux tells it. Functions that the
compiler inlined stand above the one that they are part of, with its number.

Examples:
  physgdb bt file:/tmp/ram
  physgdb bt file:/tmp/ram cpus 1 'kworker/*'`,
		Options: []Option{
			{Name: "no-lines", Usage: "leave out source lines and inlined functions"},
			jsonOption("a task with its frames"),
		},
		prepare: func(r *request) (Answer, error) {
			return func(ctx context.Context, m *Machine, w io.Writer) error {
				return m.writeBacktraces(ctx, w, r.args, !r.on("no-lines"), r.on("json"))
			}, nil
		},
	}
}

func (m *Machine) writeBacktraces(ctx context.Context, w io.Writer, words []string, lines, asJSON bool) error {
	if err := m.needSymbols("bt"); err != nil {
		return err
	}
	tracer, err := m.newTracer(ctx, lines)
	if err != nil && len(words) == 0 && m.Notice != nil && m.Notice.RIP != nil {
		return cmp.Or(m.writeNoticedBacktrace(ctx, w, lines, asJSON), fmt.Errorf("bt: of the tasks nothing more is known: %w", err))
	}
	if err != nil {
		return fmt.Errorf("bt: %w", err)
	}
	list := &linux.TaskList{All: []*linux.Task{tracer.dead}} // others need not be looked for if that is all that is wanted
	if len(words) > 0 || tracer.dead == nil {
		if list, err = m.tasks(ctx, "bt"); err != nil {
			return err
		}
	}
	tasks, missing := tracer.pick(list, words)
	out := bufio.NewWriter(w)
	if len(tasks) == 0 && len(words) == 0 {
		return errors.New("bt: neither what panicked nor what the CPUs ran can be told: memory is missing or damaged; " +
			"bt PID and bt all show what is left")
	}
	if len(tasks) == 0 && missing == nil && !asJSON {
		fmt.Fprintln(out, "no such tasks")
	}
	lost, err := tracer.write(ctx, out, tasks, asJSON)
	if err != nil {
		return cmp.Or(out.Flush(), err)
	}
	if missing != nil {
		missing = notFound(fmt.Errorf("bt: %w", missing), listDamage("bt", list.Damage))
	}
	var damage error
	if len(words) == 0 && tracer.dead == nil || slices.ContainsFunc(words, isGroup) {
		damage = listDamage("bt", list.Damage)
	}
	if lost > 0 && damage == nil && !m.live { // what runs has no registers to begin with
		damage = fmt.Errorf("bt: %d of %d backtraces are not whole, for the reasons behind \"lost\"", lost, len(tasks))
	}
	return cmp.Or(out.Flush(), missing, damage)
}

// write writes the backtraces of tasks, and returns how many of them are not whole.
func (tr *tracer) write(ctx context.Context, w io.Writer, tasks []*linux.Task, asJSON bool) (lost int, err error) {
	for i, t := range tasks {
		if i%stacksAhead == 0 {
			tr.readAhead(ctx, tasks[i:min(i+stacksAhead, len(tasks))])
		}
		b, err := tr.trace(ctx, t)
		if err != nil {
			return lost, fmt.Errorf("bt: after %d of %d tasks: %w", i, len(tasks), err)
		}
		if b.Lost != "" && !b.offline {
			lost++
		}
		if asJSON {
			err = plain.WriteJSON(w, b)
		} else {
			if i > 0 {
				fmt.Fprintln(w)
			}
			err = b.write(w)
		}
		if err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// writeNoticedBacktrace writes the backtrace of the CPU that told of its panic, where of the task itself nothing is known.
func (m *Machine) writeNoticedBacktrace(ctx context.Context, w io.Writer, lines, asJSON bool) error {
	n := m.Notice
	told := gdbstub.Registers{}
	m.noticed(told)
	regs := map[symbols.Reg]uint64{}
	for number, name := range registerNames {
		if v, ok := told[name]; ok {
			regs[symbols.Reg(number)] = v
		}
	}
	b := &trace{Comm: n.Comm, CPU: m.cpus[0], Running: true, Panicked: true, Frames: []traceFrame{}}
	if n.PID != nil {
		b.PID, b.TID = *n.PID, *n.PID
	}
	tr := &tracer{m: m}
	if lines {
		tr.lines = m.sourceLines()
	}
	if err := tr.unwind(ctx, b, linux.NewRegisters("told by the machine as it panicked", regs), nil); err != nil {
		return err
	}
	if asJSON {
		return plain.WriteJSON(w, b)
	}
	return b.write(w)
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

// isGroup reports whether a word stands for many tasks, some of which a damaged list may not have.
func isGroup(word string) bool { return word == "all" || word == "cpus" || word == "blocked" }

// group finds the tasks that one word stands for.
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

// write writes a backtrace for people.
func (b *trace) write(w io.Writer) error {
	b.writeHeader(w)
	onlyTask := !slices.ContainsFunc(b.Frames, func(f traceFrame) bool { return f.Stack != "TASK" && f.Stack != "" })
	stack := ""
	for i := range b.Frames {
		f := &b.Frames[i]
		if f.Stack != stack && f.Stack != "" && !onlyTask {
			if stack != "" {
				fmt.Fprintf(w, " </%s>\n", stack)
			}
			fmt.Fprintf(w, " <%s>\n", f.Stack)
			stack = f.Stack
		}
		f.write(w, i)
	}
	switch {
	case b.User != nil:
		b.User.write(w)
	case b.Lost == "":
		fmt.Fprintln(w, " the first function of the task")
	}
	if b.Lost != "" {
		fmt.Fprintf(w, " lost: %s\n", plain.Line(b.Lost))
	}
	if b.Rests != "" {
		fmt.Fprintf(w, " CPU %d itself has come to rest in %s\n", b.CPU, b.Rests)
	}
	return nil
}

func (b *trace) writeHeader(w io.Writer) {
	what := b.State
	switch {
	case b.Panicked:
		what = "panicked"
	case b.Running:
		what = "running"
	}
	fmt.Fprintf(w, "PID: %d", b.PID)
	if b.TID != b.PID {
		fmt.Fprintf(w, "  TID: %d", b.TID)
	}
	fmt.Fprintf(w, "  TASK: %v  CPU: %d  STATE: %s  COMM: %q", b.Task, b.CPU, what, b.Comm)
	if b.Registers != "" {
		fmt.Fprintf(w, "  REGISTERS: %s", b.Registers)
	}
	fmt.Fprintln(w)
}

func (f *traceFrame) write(w io.Writer, n int) {
	if r := f.Regs; r != nil {
		fmt.Fprintf(w, "    interrupted: RIP %v  RSP %v  CS %v  EFLAGS %v  ORIG_RAX %d\n", r.RIP, r.RSP, r.CS, r.Flags, r.OrigRAX)
	}
	for _, in := range f.Inlined {
		fmt.Fprintf(w, "%-3s %20s%s (inlined)%s\n", fmt.Sprintf("#%d", n), "", in.Function, sourceText(in.File, in.Line))
	}
	fmt.Fprintf(w, "%-3s [%v] %s at %v%s\n", fmt.Sprintf("#%d", n), f.SP, f.name(), f.PC, sourceText(f.File, f.Line))
}

// name writes a function as the kernel's own traces do.
func (f *traceFrame) name() string {
	if f.Function == "" {
		return "?"
	}
	place := linux.Place{Offset: uint64(f.Offset), Module: f.Module}
	place.Name, place.Size = f.Function, uint64(f.Size)
	if f.Guessed {
		return "? " + place.String()
	}
	return place.String()
}

// sourceText writes a line of the source, if it is known.
func sourceText(file string, line int) string {
	if file == "" {
		return ""
	}
	return fmt.Sprintf(" (%s:%d)", file, line)
}

func (u *userSide) write(w io.Writer) {
	fmt.Fprintf(w, " user: RIP %v  RSP %v  ", u.RIP, u.RSP)
	if u.Syscall != nil {
		fmt.Fprintf(w, "system call %d\n", *u.Syscall)
	} else {
		fmt.Fprintln(w, "interrupted")
	}
}
