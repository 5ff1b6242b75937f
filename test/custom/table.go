package main

import (
	"fmt"
	"strings"

	"physgdb/test/guest"
)

// verdict is the result in a cell of the table.
type verdict string

const (
	passed verdict = "pass"
	absent verdict = "no"       // not possible with this kernel, as a message explains
	failed verdict = "**FAIL**" // differs from the expected result
)

// cell is the result of one command on one kernel.
type cell struct {
	verdict verdict
	// text is a count for passed, the message of physgdb for absent, the difference for failed.
	text string
}

// column is a kernel with its cells, by row.
type column struct {
	*guest.Custom
	release string
	cells   map[string]cell
	err     error // it could not be built or booted
}

const preface = `# Kernels that Debian does not ship

Written by ''make kernels-custom'': kernels built from Debian's linux-source packages with the small
configurations of ''test/guest/custom''. Each is booted with 5-level paging and page-table isolation
and panics in a module, of an access to address 0. physgdb reads only the guest's RAM.

A cell says pass only if the result of physgdb equals an independent one: what the guest reported
about itself (/proc, /sys), what its kernel printed on the serial console, or its vmlinux and
System.map. A cell says no, with a number, where the memory of such a kernel does not contain what is
needed and physgdb reports it; its message is quoted below the table.

`

// markdown returns the table.
func markdown(columns []*column) string {
	var b, notes strings.Builder
	b.WriteString(strings.ReplaceAll(preface, "''", "`"))
	b.WriteString("| kernel | |\n|---|---|\n")
	for _, c := range columns {
		fmt.Fprintf(&b, "| %s | %s%s |\n", c.Name, c.About, made(c))
	}
	b.WriteString("\n|")
	for _, c := range columns {
		fmt.Fprintf(&b, " | %s", c.Name)
	}
	fmt.Fprint(&b, " |\n|---|", strings.Repeat("---|", len(columns)), "\n")
	numbered := 0
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s", row.name)
		for _, c := range columns {
			cell, ok := c.cells[row.name]
			switch {
			case !ok:
				b.WriteString(" | –")
				continue
			case cell.verdict == passed:
				fmt.Fprintf(&b, " | pass %s", cell.text)
				continue
			}
			numbered++
			fmt.Fprintf(&b, " | %s [%d]", cell.verdict, numbered)
			fmt.Fprintf(&notes, "%d. %s, %s:\n\n   ```\n%s\n   ```\n\n", numbered, c.Name, row.name, indent(cell.text))
		}
		b.WriteString(" |\n")
	}
	b.WriteString("\n" + strings.Join(explained(), "\n") + "\n")
	if numbered > 0 {
		b.WriteString("\n## Messages of physgdb for the cells with no\n\n" + notes.String())
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// made returns the release of a kernel, or why there is none.
func made(c *column) string {
	if c.err != nil {
		line, _, _ := strings.Cut(c.err.Error(), "\n")
		return "; not tried: " + line
	}
	return "; " + c.release
}

// explained returns a line about each row.
func explained() []string {
	var lines []string
	for _, row := range rows {
		lines = append(lines, fmt.Sprintf("- %s: %s", row.name, row.about))
	}
	return lines
}

// indent indents a text, as a block within a list needs it.
func indent(text string) string {
	return "   " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n   ")
}
