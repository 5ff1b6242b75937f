package main

import "github.com/urfave/cli/v2"

func infoCommand() *cli.Command {
	return &cli.Command{
		Name:      "info",
		Usage:     "say what this machine is: kernel, panic, CR3, slide, RAM map",
		ArgsUsage: "SOURCE",
		Description: `Example:
  physgdb info file:/tmp/ram --cr3 0x2a5c000 --vmlinux vmlinux`,
		Flags: machineFlags(),
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
			if err := m.WriteInfo(c.Context, c.App.Writer); err != nil {
				return err
			}
			return m.WriteStats(c.App.ErrWriter)
		},
	}
}
