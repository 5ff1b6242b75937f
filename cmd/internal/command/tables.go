package command

import (
	"context"

	"physgdb/cmd/internal/machine"
	"physgdb/cmd/internal/query"
	"physgdb/cmd/internal/render"
)

// Table is a table of gdb's `info os`. VS Code lets a user pick from the processes.
type Table struct {
	Name, Title, Description string
	Columns                  []string
	Rows                     func(context.Context, *machine.Machine) ([][]string, error)
}

var (
	processTable = Table{
		Name: "processes", Title: "Processes", Description: "Listing of all processes",
		Columns: []string{"pid", "user", "command", "cores"},
		Rows:    rowsOf(query.Processes, render.ProcessRows),
	}
	threadTable = Table{
		Name: "threads", Title: "Threads", Description: "Listing of all threads, those of the kernel included",
		Columns: []string{"pid", "command", "tid", "core", "state"},
		Rows:    rowsOf(query.Threads, render.ThreadRows),
	}
	fileTable = Table{
		Name: "files", Title: "Open files", Description: "Listing of all files that processes had open",
		Columns: []string{"pid", "command", "file descriptor", "name"},
		Rows:    rowsOf(query.OpenFiles, render.FileRows),
	}
	moduleTable = Table{
		Name: "modules", Title: "Kernel modules", Description: "Listing of all loaded kernel modules",
		Columns: []string{"name", "size", "num uses", "dependencies", "status", "address"},
		Rows: rowsOf(func(ctx context.Context, m *machine.Machine) ([]query.Module, error) {
			return query.Modules(ctx, m, nil, query.ModuleDetails{})
		}, render.ModuleRows),
	}
)

// rowsOf combines a query and a renderer. gdb has no place for what is incomplete: it is logged.
func rowsOf[T any](find func(context.Context, *machine.Machine) ([]T, error), render func([]T) [][]string) func(context.Context,
	*machine.Machine) ([][]string, error) {
	return func(ctx context.Context, m *machine.Machine) ([][]string, error) {
		list, err := find(ctx, m)
		if _, onlyDamage := err.(*machine.DamageError); onlyDamage {
			m.Log.Warn(err.Error())
			err = nil
		}
		return render(list), err
	}
}
