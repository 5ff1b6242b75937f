package main

import (
	"bufio"
	"fmt"

	"github.com/urfave/cli/v2"

	"physgdb/cmd/internal/host"
	"physgdb/mmu"
)

func mapsCommand() *cli.Command {
	return &cli.Command{
		Name:      "maps",
		Usage:     "list every mapping under a CR3",
		ArgsUsage: "SOURCE [PID|NAME|kernel|panic|HEX]",
		Description: `A line is a virtual range, where it begins in physical memory, the size of its pages, its rights (rwx; u for user, k
for kernel), and the index taken through each page table to its first page. Adjacent pages of equal rights make one line,
and so do the same pages that are mapped again and again at a constant distance.
Without a word the CR3 is that of --cr3, or the kernel's own; the words are those of physgdb cr3.

Examples:
  physgdb maps file:/tmp/ram --cr3 0x2a5c000
  physgdb maps file:/tmp/ram nginx --user
  physgdb maps file:/tmp/ram --notify notices.jsonl --cr3 hello:clock --user --json`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "every page on a line of its own"},
			&cli.BoolFlag{Name: "json", Usage: "one JSON object a line: va, end, pa, page, flags, path, ram, times, stride"},
			&cli.BoolFlag{Name: "user", Usage: "the lower half of the address space alone"},
			&cli.BoolFlag{Name: "kernel", Usage: "the upper half of the address space alone"},
		}, machineFlags()...),
		Action: maps,
	}
}

func maps(c *cli.Context) error {
	args, err := operands(c, 1, 2)
	if err != nil {
		return err
	}
	o := host.MapsOptions{Range: mmu.All, All: c.Bool("all"), JSON: c.Bool("json")}
	switch user, kernel := c.Bool("user"), c.Bool("kernel"); {
	case user && kernel:
		return usagef("maps: --user and --kernel exclude each other; without either, both halves are listed")
	case user:
		o.Range = mmu.Lower
	case kernel:
		o.Range = mmu.Upper
	}
	m, err := attach(c, args[0])
	if err != nil {
		return err
	}
	defer m.Close()
	space := m.Space
	if len(args) > 1 {
		if space, err = m.SpaceNamed(c.Context, args[1]); err != nil {
			return fmt.Errorf("maps: %w", err)
		}
	}
	out := bufio.NewWriter(c.App.Writer)
	if err := m.WriteMaps(c.Context, out, c.App.ErrWriter, space, &o); err != nil {
		out.Flush()
		return err
	}
	return out.Flush()
}
