package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"physgdb/cmd/internal/machine"
	"physgdb/cmd/internal/query"
	"physgdb/cmd/internal/render"
)

func btCommand() Command {
	return Command{
		Name: "bt", Args: "[PID|NAME|cpus|blocked|all]...", In: Shell | Monitor, Needs: Symbols,
		Help: "backtraces: of the task that panicked, of others, of all CPUs, of blocked tasks, of all",
		About: `Without words it is the task that panicked or, if none did, those that were running. Frames are found by the
kernel's own unwind tables, across interrupts, up to user space. A frame is its number, stack pointer, function and the
offset in it as the kernel's traces have them, address, and line of the source if a vmlinux has it. Functions that the
compiler inlined are listed above the one that contains them, with its number.

Examples:
  physgdb bt file:/tmp/ram
  physgdb bt file:/tmp/ram cpus 1 'kworker/*'`,
		Options: []Option{
			{Name: "no-lines", Usage: "leave out source lines and inlined functions"},
			jsonOption(query.Backtrace{}),
		},
		Prints: []any{query.Backtrace{}},
		prepare: func(r *Request) (*Query, error) {
			o := &query.BacktraceOptions{Words: r.Args, Lines: !r.on("no-lines")}
			return &Query{Run: func(ctx context.Context, env *Env) error { return backtraces(ctx, env, o, r.on("json")) }}, nil
		},
	}
}

func backtraces(ctx context.Context, env *Env, o *query.BacktraceOptions, asJSON bool) error {
	written := 0
	write := render.Backtraces.Rows(env.Out, asJSON)
	err := query.Backtraces(ctx, env.Machine, o, func(b *query.Backtrace) error {
		written++
		return write(b)
	})
	_, onlyDamage := err.(*machine.DamageError)
	if written == 0 && !asJSON && (err == nil || onlyDamage) {
		fmt.Fprintln(env.Out, "no such tasks")
	}
	return err
}

func psCommand() Command {
	return Command{
		Name: "ps", Aliases: []string{"lx-ps"}, Args: "[PID|NAME]...", In: Shell | Monitor, Needs: Symbols,
		Help: "list the tasks of the machine: processes, their threads, and those of the kernel",
		About: `PID takes all threads of a process, or one thread; in a NAME, * matches any text. A task with > was running
as the machine died. The column S has ps's letters: R runnable, S asleep, D blocked, I idle, T stopped, Z zombie, X dead.
TASK is the address of the task_struct.

Examples:
  physgdb ps file:/tmp/ram
  physgdb ps file:/tmp/ram 'kworker/*' --json`,
		Options: []Option{jsonOption(query.Task{})},
		Prints:  []any{query.Task{}},
		Tables:  []Table{processTable, threadTable, fileTable},
		prepare: func(r *Request) (*Query, error) {
			return tableQuery(r, &render.Tasks, func(ctx context.Context, env *Env) ([]query.Task, error) {
				return query.Tasks(ctx, env.Machine, r.Args)
			}), nil
		},
	}
}

// tableQuery returns a query whose result is rows of one type. What was found is written before the
// error says what is missing.
func tableQuery[T any](r *Request, table *render.Table[T], find func(context.Context, *Env) ([]T, error)) *Query {
	return &Query{Run: func(ctx context.Context, env *Env) error {
		rows, err := find(ctx, env)
		if written := table.Write(env.Out, rows, r.on("json")); written != nil {
			return written
		}
		return err
	}}
}

func dmesgCommand() Command {
	return Command{
		Name: "dmesg", Aliases: []string{"lx-dmesg"}, In: Shell | Monitor, Needs: Symbols,
		Help: "print the kernel's log",
		About: `LEVELS are those of dmesg(1): emerg, alert, crit, err, warn, notice, info, debug, or 0 to 7, several with
commas; err+ means err and worse. Characters that are not printable are written as \x1b or \u202e.

Examples:
  physgdb dmesg file:/tmp/ram -n 50
  physgdb dmesg file:/tmp/ram -T -l warn+`,
		Options: []Option{
			{Name: "T", Usage: "times of the clock on the wall, by the machine's own, in UTC"},
			text("l", "LEVELS", "messages of these levels alone"),
			text("n", "N", "the newest N messages alone"),
			jsonOption(query.Message{}),
		},
		Prints:  []any{query.Message{}},
		prepare: prepareDmesg,
	}
}

func prepareDmesg(r *Request) (*Query, error) {
	o := &query.LogOptions{WallClock: r.on("T"), Levels: query.AllLevels}
	var err error
	if o.Newest, err = r.number("n"); err != nil {
		return nil, err
	}
	if levels, given := r.Options["l"]; given {
		if o.Levels, err = query.ParseLevels(levels); err != nil {
			return nil, err
		}
	}
	return &Query{Run: func(ctx context.Context, env *Env) error {
		log, err := query.ReadLog(ctx, env.Machine, o)
		if log == nil {
			return err
		}
		if written := render.Log(env.Out, log, r.on("json")); written != nil {
			return written
		}
		return err
	}}, nil
}

func modulesCommand() Command {
	return Command{
		Name: "modules", Aliases: []string{"lx-lsmod"}, Args: "[NAME]...", In: Shell | Monitor, Needs: Symbols,
		Help: "list the modules that the kernel had loaded",
		About: `TAINT has the letters by which the kernel marks a module that is not quite its own: O out of tree, E unsigned,
P proprietary… BASE is where its code begins. gdb loads the symbols of those whose files lie in the usual places or below
--modules DIR; for the others it gets what is in memory: names and types, no source lines. --files says which files those
are, or why there is none, and the command by which gdb loads one from elsewhere. Where objdump -h shows the sections of
such a file at other addresses than 0, gdb would show wrong values: first objcopy --change-section-vma '*=0' NAME.ko

Examples:
  physgdb modules file:/tmp/ram
  physgdb modules file:/tmp/ram --files virtio_net`,
		Options: []Option{
			{Name: "files", Usage: "the file of each, or why there is none and gdb's command to load it"},
			jsonOption(query.Module{}),
		},
		Prints: []any{query.Module{}},
		Tables: []Table{moduleTable},
		prepare: func(r *Request) (*Query, error) {
			return &Query{Run: func(ctx context.Context, env *Env) error { return modules(ctx, env, r) }}, nil
		},
	}
}

func modules(ctx context.Context, env *Env, r *Request) error {
	details := query.ModuleDetails{Files: true, Sections: r.on("json"), Commands: r.on("files")}
	list, err := query.Modules(ctx, env.Machine, r.Args, details)
	table := &render.Modules
	if r.on("files") {
		table = &render.ModuleFiles
	}
	if written := table.Write(env.Out, list, r.on("json")); written != nil {
		return written
	}
	fileless := 0
	for i := range list {
		if list[i].NoFile != nil {
			fileless++
		}
	}
	if fileless > 0 && !r.on("files") && !r.on("json") {
		render.Fileless(env.Out, fileless)
	}
	return err
}

func percpuCommand() Command {
	return Command{
		Name: "percpu", Args: "SYMBOL CPU|all", In: Shell | Monitor, Needs: Symbols,
		Help: "where a CPU's copy of a per-CPU variable lies, its value if it is small, and how gdb prints it",
		About: `gdb itself cannot find per-CPU variables: their symbols have the address of no CPU's copy. The end of the
line is an expression for gdb.

Examples:
  physgdb percpu file:/tmp/ram runqueues 0
  physgdb percpu file:/tmp/ram this_cpu_off all`,
		Options: []Option{jsonOption(query.PerCPU{})},
		Prints:  []any{query.PerCPU{}},
		prepare: preparePerCPU,
	}
}

func preparePerCPU(r *Request) (*Query, error) {
	if len(r.Args) != 2 {
		return nil, errors.New("want SYMBOL and CPU, such as: runqueues 0, or: runqueues all")
	}
	symbol, which := r.Args[0], r.Args[1]
	cpu := query.AllCPUs
	if which != "all" {
		n, err := strconv.ParseUint(which, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q is no CPU: want a number such as 0, or all", which)
		}
		cpu = int(n)
	}
	return tableQuery(r, &render.PerCPUs, func(ctx context.Context, env *Env) ([]query.PerCPU, error) {
		return query.PerCPUs(ctx, env.Machine, symbol, cpu)
	}), nil
}
