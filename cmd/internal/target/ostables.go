package target

import (
	"context"

	"physgdb/cmd/internal/command"
	"physgdb/gdbstub"
)

// OSTables are what gdb shows by `info os`: the tables of the commands.
func (s *session) OSTables() []gdbstub.OSTable {
	var tables []gdbstub.OSTable
	for _, c := range command.All() {
		for _, t := range c.Tables {
			tables = append(tables, gdbstub.OSTable{
				Name: t.Name, Title: t.Title, Description: t.Description, Columns: t.Columns,
				Rows: func(ctx context.Context) ([][]string, error) { return t.Rows(ctx, s.m) },
			})
		}
	}
	return tables
}
