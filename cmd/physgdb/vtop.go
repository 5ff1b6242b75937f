package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"
)

func vtopCommand() *cli.Command {
	return &cli.Command{
		Name:      "vtop",
		Usage:     "explain how virtual addresses are translated, entry by entry",
		ArgsUsage: "SOURCE ADDRESS...",
		Description: `An address is a number (0x...) or, with --vmlinux, a symbol. Of one that is not mapped the entry is named that says so.

Example:
  physgdb vtop file:/tmp/ram --cr3 0x2a5c000 --vmlinux vmlinux linux_banner 0xffffffffff5fd000`,
		Flags:  machineFlags(),
		Action: vtop,
	}
}

func vtop(c *cli.Context) error {
	args, err := operands(c, 2, -1)
	if err != nil {
		return err
	}
	m, err := attach(c, args[0])
	if err != nil {
		return err
	}
	defer m.Close()
	failed := 0
	for _, arg := range args[1:] {
		va, err := m.Address(arg)
		if err != nil {
			return usageError{err}
		}
		if err := m.WriteVtop(c.Context, c.App.Writer, m.Space, va); err != nil {
			failed++
			fmt.Fprintf(c.App.Writer, "  %v\n", err)
		}
	}
	switch {
	case failed == 1:
		return errors.New("one address is not mapped")
	case failed > 0:
		return fmt.Errorf("%d addresses are not mapped", failed)
	}
	return nil
}
