package main

import (
	"bufio"
	"fmt"

	"github.com/urfave/cli/v2"

	"physgdb/cmd/internal/host"
)

func vtopCommand() *cli.Command {
	return &cli.Command{
		Name:      "vtop",
		Usage:     "explain how virtual addresses are translated, entry by entry",
		ArgsUsage: "SOURCE ADDRESS...",
		Description: `An address is a number (0x...) or a symbol of the kernel. Of one that is not mapped the entry is named that says so.

Example:
  physgdb vtop file:/tmp/ram linux_banner 0xffffffffff5fd000`,
		Flags:  machineFlags(),
		Action: vtop,
	}
}

func vtop(c *cli.Context) error {
	args, err := operands(c, 2, -1)
	if err != nil {
		return err
	}
	o, err := hostOptions(c, args[0])
	if err != nil {
		return err
	}
	if err := checkAddresses(o, args[1:]); err != nil {
		return err
	}
	m, err := host.Attach(c.Context, o)
	if err != nil {
		return err
	}
	defer m.Close()
	vas, err := m.Addresses(args[1:])
	if err != nil {
		return err
	}
	failed := 0
	out := bufio.NewWriter(c.App.Writer)
	for _, va := range vas {
		if err := m.WriteVtop(c.Context, out, m.Space, va); err != nil {
			failed++
			fmt.Fprintf(out, "  %v\n", err)
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("not translated: %d of %d, for the reasons above", failed, len(vas))
	}
	return nil
}

// checkAddresses complains of what cannot be an address before a host is waited for. Whether a symbol exists is known
// only later.
func checkAddresses(o *host.Options, texts []string) error {
	if o.Vmlinux != "" || o.Symbols != host.SymbolsNone {
		return nil
	}
	for _, text := range texts {
		if _, err := host.ParseAddress(text); err != nil {
			return usagef("%w, and --symbols none leaves no symbols", err)
		}
	}
	return nil
}
