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
		Help: "print backtraces of the task that panicked, of other tasks, of all CPUs, of blocked tasks, or of all tasks",
		About: `Without arguments, bt prints the task that panicked or, if none did, the running tasks. It finds frames with the
kernel's own unwind tables, across interrupts, up to user space. Each frame shows its number, the stack pointer, the
function and offset in the format of kernel traces, the address, and the source line if a vmlinux has it. Inlined
functions are listed above the function that contains them, with the same number.

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
		Help: "list the tasks of the machine: processes, their threads, and kernel threads",
		About: `PID selects all threads of a process, or one thread. In a NAME, * matches any text. The mark > shows the tasks
that were running when the machine died. Column S has the letters of ps: R runnable, S asleep, D blocked, I idle,
T stopped, Z zombie, X dead. TASK is the address of the task_struct.

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

// tableQuery returns a query whose result is rows of one type. If find returns rows and an error,
// the rows are written first.
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
		About: `LEVELS are those of dmesg(1): emerg, alert, crit, err, warn, notice, info, debug, or 0 to 7, separated by
commas. err+ means err and all more severe levels. Characters that are not printable are escaped as \x1b or \u202e.

Examples:
  physgdb dmesg file:/tmp/ram -n 50
  physgdb dmesg file:/tmp/ram -T -l warn+`,
		Options: []Option{
			{Name: "T", Usage: "print wall-clock times in UTC, by the clock of the target machine"},
			text("l", "LEVELS", "print only messages of these `LEVELS`"),
			text("n", "N", "print only the newest `N` messages"),
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
		About: `TAINT has the kernel's letters for modules that taint it: O out of tree, E unsigned, P proprietary… BASE is the
start address of the code. gdb loads the symbols of a module if its file is in one of the usual directories or below
--modules DIR. For other modules gdb gets the symbols that are in memory: names and types, no source lines. --files
shows the file of each module, or why there is none and the gdb command that loads a file from another path.
If objdump -h shows sections of that file at addresses other than 0, gdb would show wrong values. In that case first
run objcopy --change-section-vma '*=0' NAME.ko

Examples:
  physgdb modules file:/tmp/ram
  physgdb modules file:/tmp/ram --files virtio_net`,
		Options: []Option{
			{Name: "files", Usage: "show the file of each module, or why there is none and the gdb command to load one"},
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
		Help: "show the address of a CPU's copy of a per-CPU variable, its value if it is small, and a gdb expression for it",
		About: `gdb cannot find per-CPU variables by their symbols, because the symbol is not the address of any CPU's copy.
The end of each line is an expression for gdb.

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
