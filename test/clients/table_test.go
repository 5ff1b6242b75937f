package clients

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// cell is how one client fared with one action.
type cell struct {
	err         error         // nil if it passed
	took, alone time.Duration // with the machine, and what the client takes for it by itself
	waited      time.Duration // of what it took, for the stub
}

// excess is what the machine adds: how much longer it took than without, but no more than the client waited for answers. On
// a busy computer gdb alone may need ten seconds for a thing now and thirty then.
func (c cell) excess() time.Duration { return min(c.took-c.alone, c.waited) }

// column is a client with its cells, by action.
type column struct {
	client client
	cells  map[string]cell
}

// markdown writes the table. Reasons stand below it, numbered.
func markdown(about string, columns []column) string {
	var b, notes strings.Builder
	fmt.Fprint(&b, "# What each debugger does with a dead machine\n\n", about, "\n")
	fmt.Fprint(&b, "|")
	for _, c := range columns {
		fmt.Fprintf(&b, " | %s", c.client.name())
	}
	fmt.Fprint(&b, " |\n|---|", strings.Repeat("---|", len(columns)), "\n")
	numbered := 0
	for _, row := range slices.Concat(rows, []action{crowdRow}) {
		fmt.Fprintf(&b, "| %s", row.name)
		for _, c := range columns {
			if reason := reasons[c.client][row.name]; reason != "" {
				numbered++
				fmt.Fprintf(&b, " | no [%d]", numbered)
				fmt.Fprintf(&notes, "%d. %s, %s: %s\n", numbered, c.client.name(), row.name, reason)
				continue
			}
			fmt.Fprintf(&b, " | %s", c.cells[row.name])
		}
		fmt.Fprint(&b, " |\n")
	}
	if numbered > 0 {
		fmt.Fprint(&b, "\nWhat a client cannot do, for a reason of its own:\n\n", notes.String())
	}
	return b.String()
}

// String is the cell in the table: seconds with the machine, and of those the client's own.
func (c cell) String() string {
	verdict := "pass"
	if c.err != nil {
		verdict = "**FAIL**"
	}
	text := fmt.Sprintf("%s %.2f s", verdict, c.took.Seconds())
	if c.alone > 0 {
		text += fmt.Sprintf(" (%.2f s)", c.alone.Seconds())
	}
	return text
}
