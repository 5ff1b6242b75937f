package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"physgdb/cmd/internal/host"
)

func symbolsCommand() *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "o", Usage: "the `FILE` to write", DefaultText: "vmlinux-RELEASE.synth"},
		cr3Flag, notifyFlag, vmcoreinfoFlag,
	}
	return &cli.Command{
		Name:      "symbols",
		Usage:     "write an ELF file made of a dead machine's memory, in place of its vmlinux",
		ArgsUsage: "SOURCE",
		Description: `The file has what the kernel keeps in its memory about itself: its symbols (kallsyms), types (BTF) and how to unwind its stacks
(ORC), in the form that debuggers load (symbol table, DWARF). gdb gets it by itself from physgdb serve; lldb must be given it.
It has neither source lines nor local variables.

Examples:
  physgdb symbols file:/tmp/ram -o vmlinux.synth
  lldb vmlinux.synth -o 'gdb-remote 127.0.0.1:1234'`,
		Flags:  append(flags, memoryFlags()...),
		Action: saveSymbols,
	}
}

func saveSymbols(c *cli.Context) error {
	args, err := operands(c, 1, 1)
	if err != nil {
		return err
	}
	o, err := hostOptions(c, args[0])
	if err != nil {
		return err
	}
	o.Symbols = host.SymbolsRAM
	m, err := host.Attach(c.Context, o)
	if err != nil {
		return err
	}
	defer m.Close()
	written, missing := m.SaveVmlinux(c.Context, c.String("o"))
	if written != "" {
		fmt.Fprintln(c.App.Writer, written)
	}
	return errors.Join(missing, m.WriteStats(c.App.ErrWriter))
}
