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

// excess is what the machine adds: how much longer it took than without, but no more than the
// client waited for answers. On a busy computer gdb alone may need ten seconds for a thing now and
// thirty then.
func (c cell) excess() time.Duration { return min(c.took-c.alone, c.waited) }

// column is a client with its cells, by action.
type column struct {
	kit    kit
	client client
	cells  map[string]cell
}

// reason is why the client cannot do an action, or "".
func (c column) reason(action string) string { return reasons[place{c.kit.name, c.client}][action] }

// preface is what holds for all tables.
var preface = strings.ReplaceAll(`# What each debugger does with a dead machine

Written by 'make clients', from a run of every client on real kernels that died of an oops in a module, over the software
adapter with a delay of 15us.

Each cell passes only if what the client showed equals what the guest said of itself while it lived, or what QEMU says of it.
It tells how long the action took, and in brackets how long the same client takes for the same with the file of the kernel alone;
for a list of 2000 threads, with a stub that answers at once what physgdb had answered before. An adapter is started and
loads the file as it attaches, and does nothing without a machine: for what its debugger takes by itself see there.
With a vmlinux gdb reads the types of the whole kernel when it first needs one, for half a minute, or for a second if it has kept an
index of them; here it had: 'set index-cache enabled on'.

lldb takes no list of modules. It was told of the module in its console or in attachCommands: 'target modules add trouble.ko', and
after each attach 'target modules load --file trouble.ko', with '--slide 0' for a file that physgdb made, else with '.text ADDRESS' of
what 'monitor modules --files' says.
With the vmlinux of the 6.1 of Debian lldb 14 takes six minutes of CPU to connect, as it disassembles megabytes where a task sleeps
in a function with a cold part, and so it is not in that table; '--threads cpus' spares it that, and no vmlinux does.
`, "'", "`")

// markdown writes a table. Reasons stand below it, numbered.
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
