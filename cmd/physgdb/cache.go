package main

import (
	"github.com/urfave/cli/v2"

	"physgdb/cmd/internal/host"
)

func cacheCommand() *cli.Command {
	return &cli.Command{
		Name:  "cache",
		Usage: "list or remove the files that are kept for the next run",
		Description: `What is made of a kernel's memory (symbols, types, stack frames) is kept in the user's cache directory, so that the next command
need not make it again. A kept file is used only if memory holds what it was made of, byte by byte (--trust-build-id: only if the
build-id is the same). Above the limit (--cache-limit) those that were not used for the longest time are removed.

Examples:
  physgdb cache
  physgdb cache --clear`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "clear", Usage: "remove all files that are not in use"},
			&cli.BoolFlag{Name: "json", Usage: "one JSON object a line: used, size, path"},
		}, logFlags()...),
		Action: func(c *cli.Context) error {
			if _, err := operands(c, 0, 0); err != nil {
				return err
			}
			if c.Bool("clear") {
				return host.ClearCache(c.App.Writer)
			}
			return host.WriteCache(c.App.Writer, c.Bool("json"))
		},
	}
}
