package main

import (
	"strconv"

	"github.com/urfave/cli/v2"

	"physgdb/cmd/internal/command"
	"physgdb/cmd/internal/machine"
)

// runQuery runs a command of package command that has a query. It parses all words before it looks
// for the machine, because it may have to wait for the machine's notice.
func runQuery(c *cli.Context, q *command.Command) error {
	source, words, err := splitSource(c, q)
	if err != nil {
		return err
	}
	prepared, err := q.Prepare(&command.Request{Args: words, Options: givenOptions(c, q)})
	if err != nil {
		return err
	}
	if q.Needs < command.Memory {
		return prepared.Run(c.Context, command.NewEnv(nil, c.App.Writer, c.App.ErrWriter))
	}
	o, err := machineOptions(c, source)
	if err != nil {
		return err
	}
	if prepared.Adjust != nil {
		if err := prepared.Adjust(o); err != nil {
			return err
		}
	}
	if prepared.MemoryOnly {
		return runOnMemory(c, prepared, o)
	}
	m, err := machine.Attach(c.Context, o)
	if err != nil {
		return err
	}
	defer m.Close()
	return prepared.Run(c.Context, command.NewEnv(m, c.App.Writer, c.App.ErrWriter))
}

func runOnMemory(c *cli.Context, q *command.Query, o *machine.Options) error {
	mem, err := machine.OpenMemory(c.Context, o)
	if err != nil {
		return err
	}
	defer mem.Close()
	env := command.NewEnv(nil, c.App.Writer, c.App.ErrWriter)
	env.Memory = mem
	return q.Run(c.Context, env)
}

// splitSource separates SOURCE from the other arguments, if the command has one.
func splitSource(c *cli.Context, q *command.Command) (source string, words []string, err error) {
	words = c.Args().Slice()
	if q.Needs < command.Memory {
		return "", words, nil
	}
	if words, err = operands(c, 1, -1); err != nil {
		return "", nil, err
	}
	return words[0], words[1:], nil
}

// givenOptions returns the options of a command that the user gave, without those that say where
// the machine is.
func givenOptions(c *cli.Context, q *command.Command) map[string]string {
	given := map[string]string{}
	for _, o := range q.Options {
		switch {
		case !c.IsSet(o.Name):
		case o.Kind == command.Switch:
			given[o.Name] = strconv.FormatBool(c.Bool(o.Name))
		default:
			given[o.Name] = c.String(o.Name)
		}
	}
	return given
}
