package main

import (
	"errors"

	"github.com/urfave/cli/v2"
)

func infoCommand() *cli.Command {
	return &cli.Command{
		Name:      "info",
		Usage:     "say what this machine is: kernel, panic, CR3, slide, RAM map",
		ArgsUsage: "SOURCE",
		Description: `With --report it is a page to paste into a bug report: what kernel, what it died of, registers, backtraces of the CPUs and
of blocked tasks, modules, the end of the log. It holds the host's name and its kernel's command line.

Examples:
  physgdb info file:/tmp/ram
  physgdb info file:/tmp/ram --report`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "report", Usage: "what a kernel developer asks first, on one page"},
		}, machineFlags()...),
		Action: func(c *cli.Context) error {
			args, err := operands(c, 1, 1)
			if err != nil {
				return err
			}
			m, err := attach(c, args[0])
			if err != nil {
				return err
			}
			defer m.Close()
			if c.Bool("report") {
				return m.WriteReport(c.Context, c.App.Writer)
			}
			if err := m.WriteInfo(c.Context, c.App.Writer); err != nil {
				return err
			}
			return errors.Join(m.WriteStats(c.App.ErrWriter), m.Unexplained())
		},
	}
}
