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
		&cli.StringFlag{Name: "modules-to", Usage: "also write a file for each loaded module, into `DIR`"},
		cr3Flag, notifyFlag, vmcoreinfoFlag,
	}
	return &cli.Command{
		Name:      "symbols",
		Usage:     "write an ELF file made of a dead machine's memory, in place of its vmlinux",
		ArgsUsage: "SOURCE",
		Description: `The file has what the kernel keeps in its memory about itself: its symbols (kallsyms), types (BTF) and how to unwind its stacks
(ORC), in the form that debuggers load (symbol table, DWARF). gdb gets it by itself from physgdb serve; lldb must be given it.
It has neither source lines nor local variables.

Those of modules have the addresses that the modules ran at; lldb must be told so.

Examples:
  physgdb symbols file:/tmp/ram -o vmlinux.synth
  lldb vmlinux.synth -o 'gdb-remote 127.0.0.1:1234'
  physgdb symbols file:/tmp/ram --modules-to modules
  (lldb) target modules add modules/nfs.ko
  (lldb) target modules load --file nfs.ko --slide 0`,
		Flags:  append(append(flags, cacheFlags()...), memoryFlags()...),
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
	var noModules error
	if dir := c.String("modules-to"); dir != "" {
		var paths []string
		paths, noModules = m.SaveModules(c.Context, dir)
		if noModules == nil || len(paths) > 0 {
			fmt.Fprintf(c.App.Writer, "%s: %d modules\n", dir, len(paths))
		}
	}
	return errors.Join(missing, noModules, m.WriteStats(c.App.ErrWriter))
}
