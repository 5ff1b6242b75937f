// Package render writes the results of package query as text, as JSON, and as the rows of gdb's
// `info os`.
//
// Text from the target's memory is sanitized here, see package plain.
package render

import (
	"io"

	"physgdb/internal/plain"
)

// Table writes rows of one type.
type Table[T any] struct {
	Title   string // the first line of the text, if there are rows; may be empty
	Between string // text between two rows
	Row     func(w io.Writer, row *T) error
}

// Rows returns a function that writes one row after the other, as text or as one JSON object on a
// line each.
func (t *Table[T]) Rows(w io.Writer, asJSON bool) func(*T) error {
	if asJSON {
		return func(row *T) error { return plain.WriteJSON(w, row) }
	}
	before := t.Title
	return func(row *T) error {
		if _, err := io.WriteString(w, before); err != nil {
			return err
		}
		before = t.Between
		return t.Row(w, row)
	}
}

// Write writes all rows.
func (t *Table[T]) Write(w io.Writer, rows []T, asJSON bool) error {
	write := t.Rows(w, asJSON)
	for i := range rows {
		if err := write(&rows[i]); err != nil {
			return err
		}
	}
	return nil
}
