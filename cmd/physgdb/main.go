// Command physgdb serves the memory of a dead Linux machine to gdb, and explains it by itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"physgdb/cmd/internal/command"
	"physgdb/cmd/internal/debugger"
	"physgdb/cmd/internal/machine"
	"physgdb/cmd/internal/query"
	"physgdb/cmd/internal/render"
	"physgdb/internal/plain"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitPipe   = 128 + int(syscall.SIGPIPE) // the reader has gone, as in | head: the status that shells give to a process killed by the signal
)

// usagef makes an error that is the user's own.
func usagef(format string, args ...any) error {
	return &machine.UsageError{Err: fmt.Errorf(format, args...)}
}

// memoryLimit is from where on the collector of garbage works harder, in bytes: tables of damaged
// or hostile memory may be large.
const memoryLimit = 384 << 20

func main() {
	debug.SetMemoryLimit(memoryLimit)
	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	defer stop()
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // which would end this before it has tidied up
	context.AfterFunc(ctx, stop)                            // a second Ctrl-C ends what does not end by itself
	os.Exit(run(ctx, os.Args, os.Stdout, os.Stderr))
}

// endings are the signals that ask for a graceful end. nohup ignores the one for a lost terminal,
// and that stays so.
func endings() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// run is the whole command: it returns the exit status. What a target machine or the network said
// reaches stdout and stderr through one filter, which lets no terminal controls pass.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	stdout, stderr := plain.NewWriter(out), plain.NewWriter(errs)
	defer stdout.Flush()
	defer stderr.Flush()
	app := newApp(stdout, stderr)
	args, err := permute(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	if err == nil {
		return exitDone
	}
	var ended *debugger.ExitError
	if errors.As(err, &ended) {
		return ended.Status // the debugger has printed why
	}
	if errors.Is(err, syscall.EPIPE) {
		return exitPipe
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = errors.New("interrupted")
	}
	for line := range strings.Lines(err.Error()) { // of several errors each has its own
		fmt.Fprintf(stderr, "physgdb: %s\n", strings.TrimSpace(line))
	}
	var usage *machine.UsageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:                      "physgdb",
		Usage:                     "a gdbserver for machines that can no longer run one",
		Version:                   render.VersionText(query.ReadVersion()),
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		Writer:                    stdout,
		ErrWriter:                 stderr,
		ExitErrHandler:            func(*cli.Context, error) {}, // run decides
		Commands:                  subcommands(),
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usagef("unknown command %q; physgdb --help lists them", c.Args().First())
			}
			return usagef("no command given; physgdb --help lists them")
		},
		OnUsageError: onUsageError,
	}
	for _, cmd := range app.Commands {
		cmd.OnUsageError = onUsageError
		cmd.HideHelpCommand = true
	}
	return app
}

// subcommands returns the commands of the shell, all from the table of package command.
func subcommands() []*cli.Command {
	var list []*cli.Command
	for _, c := range command.All() {
		if c.In&command.Shell == 0 {
			continue
		}
		list = append(list, &cli.Command{
			Name: c.Name, Usage: c.Help, ArgsUsage: c.ShellArgs(), Description: c.About, Flags: flags(&c), Action: action(&c),
		})
	}
	return list
}

// action returns what a command does.
func action(c *command.Command) cli.ActionFunc {
	switch c.Name {
	case "serve":
		return serve
	case "gdb":
		return startDebugger
	case "notify":
		return printNotices
	case "adapter":
		return adapter
	}
	return func(ctx *cli.Context) error { return runQuery(ctx, c) }
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	if c.Command != nil && c.Command.Name != "physgdb" && c.Command.Name != "" {
		return usagef("%s: %w; see physgdb %s --help", c.Command.Name, err, c.Command.Name)
	}
	return usagef("%w; options follow the command, see physgdb --help", err)
}

// operands returns the words after the options. Too few or too many are an error; most may be -1
// for any number.
func operands(c *cli.Context, least, most int) ([]string, error) {
	args := c.Args().Slice()
	switch {
	case len(args) < least:
		return nil, usagef("%s: too few arguments: want %s; see physgdb %s --help", c.Command.Name, c.Command.ArgsUsage,
			c.Command.Name)
	case most >= 0 && len(args) > most:
		return nil, usagef("%s: unexpected arguments: %q; see physgdb %s --help", c.Command.Name, args[most:], c.Command.Name)
	}
	return args, nil
}
