package gdbstub

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"physgdb/gdbstub/internal/worker"
	"physgdb/internal/plain"
)

// osObject is what `info os` shows (gdb manual, appendix H "Operating System Information"): the
// table named by the annex, or the table of tables.
func (s *session) osObject(ctx context.Context, annex string) ([]byte, bool, error) {
	if annex == "" {
		return tableOfTables(s.machine.can.osTables), true, nil
	}
	i := slices.IndexFunc(s.machine.can.osTables, func(t OSTable) bool { return t.Name == annex })
	if i < 0 {
		return nil, false, nil
	}
	table := s.machine.can.osTables[i]
	rows, err := worker.Ask(ctx, s.machine.worker, func(ctx context.Context, _ Target) ([][]string, error) { return table.Rows(ctx) })
	if err != nil {
		return nil, false, err
	}
	return tableXML(table.Name, table.Columns, rows), true, nil
}

// tableOfTables has the columns of gdb's own lists (nat/linux-osdata.c). gdb/MI alone gets to see
// the Title.
func tableOfTables(tables []OSTable) []byte {
	rows := make([][]string, len(tables))
	for i, t := range tables {
		rows[i] = []string{t.Name, t.Description, t.Title}
	}
	return tableXML("types", []string{"Type", "Description", "Title"}, rows)
}

// tableXML writes each row with all columns, and no more: gdb takes their number from the last row
// and runs the cells of a longer one together.
func tableXML(name string, columns []string, rows [][]string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<?xml version=\"1.0\"?>\n<osdata type=\"%s\">\n", plain.XML(name))
	for _, row := range rows {
		b.WriteString("<item>")
		for i, column := range columns {
			cell := ""
			if i < len(row) {
				cell = row[i]
			}
			fmt.Fprintf(&b, "<column name=\"%s\">%s</column>", plain.XML(column), plain.XML(cell))
		}
		b.WriteString("</item>\n")
	}
	b.WriteString("</osdata>\n")
	return b.Bytes()
}
