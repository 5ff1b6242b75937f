package main

import (
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"physgdb/cmd/internal/host"
)

// explainCommand makes a subcommand of what a dead machine can be asked in a debugger, too.
func explainCommand(q host.Command) *cli.Command {
	return &cli.Command{
		Name:        q.Name,
		Usage:       q.Help,
		ArgsUsage:   strings.TrimSpace("SOURCE " + q.Args),
		Description: q.About,
		Flags:       append(optionFlags(q.Options), machineFlags()...),
		Action:      func(c *cli.Context) error { return explain(c, &q) },
	}
}

// optionFlags are the options of a command as flags.
func optionFlags(options []host.Option) []cli.Flag {
	flags := make([]cli.Flag, len(options))
	for i, o := range options {
		if o.Value == "" {
			flags[i] = &cli.BoolFlag{Name: o.Name, Usage: o.Usage}
		} else {
			flags[i] = &cli.StringFlag{Name: o.Name, Usage: "`" + o.Value + "`: " + o.Usage}
		}
	}
	return flags
}

// explain makes sense of all words before it looks for the machine, whose notice it may have to wait for.
func explain(c *cli.Context, q *host.Command) error {
	args, err := operands(c, 1, -1)
	if err != nil {
		return err
	}
	given := map[string]string{}
	for _, o := range q.Options {
		switch {
		case !c.IsSet(o.Name):
		case o.Value == "":
			given[o.Name] = strconv.FormatBool(c.Bool(o.Name))
		default:
			given[o.Name] = c.String(o.Name)
		}
	}
	answer, err := q.Prepare(args[1:], given)
	if err != nil {
		return err
	}
	m, err := attach(c, args[0])
	if err != nil {
		return err
	}
	defer m.Close()
	return answer(c.Context, m, c.App.Writer)
}
