package clients

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// cell is the result of one client for one action.
type cell struct {
	err  error // nil if it passed
	took time.Duration
}

// column is a client with its cells, by action.
type column struct {
	kit    kit
	client client
	cells  map[string]cell
}

// reason returns why the client cannot do an action, or "".
func (c column) reason(action string) string { return reasons[place{c.kit.name, c.client}][action] }

// preface is the text before the tables.
var preface = strings.ReplaceAll(`# What each debugger does with a dead machine

Written by 'make clients', from a run of every client on real kernels that died of an oops in a
module, over the software adapter with a delay of 15us.

A cell passes only if what the client showed equals what the guest reported of itself while it was
running, or what QEMU reports of it. The time is that of the action. An adapter is started and loads
the file as it attaches. When gdb first needs a type of a vmlinux, it reads the types of the whole
kernel. That takes half a minute, or a second if it has kept an index of them; here it had:
'set index-cache enabled on'.

lldb does not read the list of modules of a stub. The module was added in its console or in
attachCommands: 'target modules add trouble.ko', and after each attach
'target modules load --file trouble.ko', with '--slide 0' for a file that physgdb made, else with
'.text ADDRESS' from 'monitor modules --files'.

With the vmlinux of the 6.1 of Debian, lldb 14 needs six minutes of CPU to connect, because it
disassembles megabytes where a task sleeps in a function with a cold part. It is therefore missing
in that table. '--threads cpus' avoids it, and so does having no vmlinux.
`, "'", "`")

// markdown returns a table, followed by the numbered reasons.
func markdown(about string, columns []column) string {
	var b, notes strings.Builder
	fmt.Fprint(&b, about, "\n\n")
	fmt.Fprint(&b, "|")
	for _, c := range columns {
		fmt.Fprintf(&b, " | %s", c.client.name())
	}
	fmt.Fprint(&b, " |\n|---|", strings.Repeat("---|", len(columns)), "\n")
	numbered := 0
	for _, row := range slices.Concat(rows, []action{crowdRow}) {
		fmt.Fprintf(&b, "| %s", row.name)
		for _, c := range columns {
			if reason := c.reason(row.name); reason != "" {
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
		fmt.Fprint(&b, "\nWhat a client cannot do for reasons of its own:\n\n", notes.String())
	}
	return b.String()
}

// String returns the cell in the table: the result and how long it took.
func (c cell) String() string {
	verdict := "pass"
	if c.err != nil {
		verdict = "**FAIL**"
	}
	return fmt.Sprintf("%s %.2f s", verdict, c.took.Seconds())
}
