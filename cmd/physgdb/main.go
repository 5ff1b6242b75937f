// Command physgdb serves the memory of a dead Linux machine to gdb, and explains it by itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is an error in the words of the user.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args, os.Stdout, os.Stderr))
}

// run is the whole command: it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := newApp(stdout, stderr)
	err := app.RunContext(ctx, permute(app, args))
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "physgdb: %v\n", err)
		return exitUsage
	}
	fmt.Fprintf(stderr, "physgdb: %v\n", err)
	return exitFailed
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:                      "physgdb",
		Usage:                     "a gdbserver for machines that can no longer run one",
		HideVersion:               true,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		Writer:                    stdout,
		ErrWriter:                 stderr,
		ExitErrHandler:            func(*cli.Context, error) {}, // run decides
		Commands: []*cli.Command{
			serveCommand(), infoCommand(), mapsCommand(), vtopCommand(), readCommand(), notifyCommand(), adapterCommand(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usagef("unknown command %q; physgdb --help lists them", c.Args().First())
			}
			cli.ShowAppHelp(c)
			return usagef("no command given")
		},
		OnUsageError: onUsageError,
	}
	for _, cmd := range app.Commands {
		cmd.OnUsageError = onUsageError
		cmd.HideHelpCommand = true
	}
	return app
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	if c.Command != nil && c.Command.Name != "physgdb" && c.Command.Name != "" {
		return usagef("%s: %w; see physgdb %s --help", c.Command.Name, err, c.Command.Name)
	}
	return usagef("%w; see physgdb --help", err)
}

// operands returns the words behind the options. Too few or too many are an error; most may be -1 for any number.
func operands(c *cli.Context, least, most int) ([]string, error) {
	args := c.Args().Slice()
	switch {
	case len(args) < least:
		return nil, usagef("%s: too few arguments: want %s; see physgdb %s --help", c.Command.Name, c.Command.ArgsUsage,
			c.Command.Name)
	case most >= 0 && len(args) > most:
		return nil, usagef("%s: left over: %q; see physgdb %s --help", c.Command.Name, args[most:], c.Command.Name)
	}
	return args, nil
}
