package host

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"

	"physgdb/internal/plain"
	"physgdb/symbols/linux"
)

func psCommand() Command {
	return Command{
		Name: "ps", Aliases: []string{"lx-ps"}, Args: "[PID|NAME]...",
		Help: "list the tasks of the machine: processes, their threads, and those of the kernel",
		About: `PID takes all threads of a process, or one thread; in a NAME, * stands for anything. A task with > was running
as the machine died. The column S has ps's letters: R runnable, S asleep, D blocked, I idle, T stopped, Z zombie, X dead.
TASK is the address of the task_struct.

Examples:
  physgdb ps file:/tmp/ram
  physgdb ps file:/tmp/ram 'kworker/*' --json`,
		Options: []Option{jsonOption("pid, tid, ppid, state, cpu, running, kind, comm, task")},
		prepare: func(r *request) (Answer, error) {
			return func(ctx context.Context, m *Machine, w io.Writer) error {
				return m.writePS(ctx, w, r.args, r.on("json"))
			}, nil
		},
	}
}

// psLine is a task as JSON shows it.
type psLine struct {
	PID     int     `json:"pid"` // of its process
	TID     int     `json:"tid"`
	PPID    int     `json:"ppid"`
	State   string  `json:"state"`
	CPU     int     `json:"cpu"`     // that it runs on, or ran on last
	Running bool    `json:"running"` // it was running as the machine died
	Kind    string  `json:"kind"`    // user, kernel or idle
	Comm    string  `json:"comm"`
	Task    address `json:"task"` // of its task_struct
}

func (m *Machine) writePS(ctx context.Context, w io.Writer, words []string, asJSON bool) error {
	list, err := m.tasks(ctx, "ps")
	if err != nil {
		return err
	}
	running, err := m.running(ctx)
	if err != nil {
		return fmt.Errorf("ps: %w", err)
	}
	tasks, missing := pick(list, words)
	tasks = byProcess(tasks)
	out := bufio.NewWriter(w)
	if !asJSON && len(tasks) > 0 {
		fmt.Fprintf(out, " %7s %7s %7s S %4s %-6s  %-18s  %s\n", "PID", "TID", "PPID", "CPU", "KIND", "TASK", "COMM")
	}
	for _, t := range tasks {
		line := newPSLine(t, running[t.Addr] != nil)
		if err := line.write(out, asJSON); err != nil {
			return err
		}
	}
	if missing != nil {
		missing = fmt.Errorf("ps: %w", missing)
	}
	return cmp.Or(out.Flush(), notFound(missing, listDamage("ps", list.Damage)))
}

// byProcess puts the threads of a process behind each other. The idle tasks, pid 0, stay last.
func byProcess(tasks []*linux.Task) []*linux.Task {
	rank := func(t *linux.Task) int {
		if t.Idle {
			return math.MaxInt
		}
		return t.TGID
	}
	return slices.SortedStableFunc(slices.Values(tasks), func(a, b *linux.Task) int { return cmp.Compare(rank(a), rank(b)) })
}

// tasks returns the tasks of the machine to a command.
func (m *Machine) tasks(ctx context.Context, command string) (*linux.TaskList, error) {
	if err := m.needSymbols(command); err != nil {
		return nil, err
	}
	list, err := m.Kernel.Tasks(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	return list, nil
}

func newPSLine(t *linux.Task, running bool) *psLine {
	return &psLine{
		PID: t.TGID, TID: t.PID, PPID: t.Parent, State: string(t.Letter()), CPU: t.CPU, Running: running, Kind: kind(t),
		Comm: t.Comm, Task: address(t.Addr),
	}
}

// kind says in a word what sort of task it is.
func kind(t *linux.Task) string {
	switch {
	case t.Idle:
		return "idle"
	case t.Kernel:
		return "kernel"
	}
	return "user"
}

func (l *psLine) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return plain.WriteJSON(w, l)
	}
	mark := ' '
	if l.Running {
		mark = '>'
	}
	_, err := fmt.Fprintf(w, "%c%7d %7d %7d %s %4d %-6s  %v  %s\n", mark, l.PID, l.TID, l.PPID, l.State, l.CPU, l.Kind, l.Task,
		plain.Line(l.Comm))
	return err
}
