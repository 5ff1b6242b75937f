// Command physgdb serves the memory of a dead Linux machine to gdb, and explains it by itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"physgdb/cmd/internal/debugger"
	"physgdb/cmd/internal/host"
	"physgdb/internal/plain"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitPipe   = 128 + int(syscall.SIGPIPE) // nobody reads on, as in | head: what a shell says of those whom the signal kills
)

// usagef makes an error that is the user's own.
func usagef(format string, args ...any) error {
	return &host.UsageError{Err: fmt.Errorf(format, args...)}
}

// memoryLimit is from where on the collector of garbage works harder, in bytes: tables of damaged or hostile memory may be large.
const memoryLimit = 384 << 20

func main() {
	debug.SetMemoryLimit(memoryLimit)
	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	defer stop()
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // which would end this before it has tidied up
	context.AfterFunc(ctx, stop)                            // a second Ctrl-C ends what does not end by itself
	os.Exit(run(ctx, os.Args, os.Stdout, os.Stderr))
}

// endings are the signals that ask for a graceful end. nohup ignores the one for a lost terminal, and that stays so.
func endings() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// run is the whole command: it returns the exit status. What a target machine or the network said reaches stdout and stderr
// through one filter, which lets no terminal controls pass.
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
		return ended.Status // it has told why by itself
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
	var usage *host.UsageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:                      "physgdb",
		Usage:                     "a gdbserver for machines that can no longer run one",
		Version:                   version(),
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

// version says which physgdb this is, by what the go command wrote into it: the module's version, or the commit.
func version() string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return fmt.Sprintf("%s (%s, %s/%s)", build.Main.Version, build.GoVersion, runtime.GOOS, runtime.GOARCH)
}

func subcommands() []*cli.Command {
	list := []*cli.Command{serveCommand(), gdbCommand(), infoCommand()}
	for _, q := range host.Commands() {
		list = append(list, explainCommand(q))
	}
	return append(list, symbolsCommand(), mapsCommand(), vtopCommand(), readCommand(), notifyCommand(), adapterCommand(),
		cacheCommand())
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	if c.Command != nil && c.Command.Name != "physgdb" && c.Command.Name != "" {
		return usagef("%s: %w; see physgdb %s --help", c.Command.Name, err, c.Command.Name)
	}
	return usagef("%w; options stand behind a command, see physgdb --help", err)
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
