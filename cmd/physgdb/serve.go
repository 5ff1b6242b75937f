package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/urfave/cli/v2"

	"physgdb/cmd/internal/debugger"
	"physgdb/cmd/internal/entry"
	"physgdb/cmd/internal/host"
	"physgdb/gdbstub"
)

var threadsFlag = &cli.StringFlag{Name: "threads", Value: host.ThreadsTasks, Usage: "what a debugger's threads are: tasks, or " +
	"cpus, with what they ran"}

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "be the gdbserver of a dead machine",
		ArgsUsage: "SOURCE",
		Description: `Finds the kernel in SOURCE and waits for debuggers: gdb -ex 'target remote ADDRESS'. gdb needs no file: it takes from here
what it has none of, the kernel and its modules, with their symbols and types. For lldb see physgdb symbols --help.
Prints one line on stdout when it is ready. With --listen stdio it serves the debugger that started it, and prints on stderr
alone: in gdb, target remote | physgdb serve --listen stdio SOURCE, or the same behind | ssh HOST.

Examples:
  physgdb serve file:/tmp/ram
  physgdb serve file:/tmp/ram --vmlinux vmlinux --listen unix:/run/user/1000/dead
  physgdb serve 'nettlp://192.168.10.1?local=192.168.10.3&requester=1b:00' --notify udp://192.168.10.3:6666`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:1234", Usage: "where debuggers come in: HOST:PORT or PORT, " +
				"unix:PATH, or stdio: an `ADDRESS`"},
			threadsFlag, liveFlag,
		}, machineFlags()...),
		Action: serve,
	}
}

func serve(c *cli.Context) error {
	args, err := operands(c, 1, 1)
	if err != nil {
		return err
	}
	o, err := servedOptions(c, args[0])
	if err != nil {
		return err
	}
	at, err := entry.Parse(c.String("listen"))
	switch {
	case err != nil:
		return usagef("serve: --listen %s: %w", c.String("listen"), err)
	case at.IsStdio():
		return serveStdio(c, o)
	}
	return serveAt(c, o, at)
}

// servedOptions are the options for a machine that debuggers look at.
func servedOptions(c *cli.Context, source string) (*host.Options, error) {
	o, err := hostOptions(c, source)
	if err == nil && o.Threads != host.ThreadsTasks && o.Threads != host.ThreadsCPUs {
		err = usagef("%s: --threads %s: want tasks or cpus", c.Command.Name, o.Threads)
	}
	return o, err
}

// attachAhead finds the kernel and what a debugger asks for first.
func attachAhead(ctx context.Context, o *host.Options) (*host.Machine, error) {
	m, err := host.Attach(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := m.LookAhead(ctx); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func newServer(m *host.Machine, o *host.Options) *gdbstub.Server {
	return gdbstub.NewServer(m.NewSession, &gdbstub.Options{Logger: o.Log})
}

// serveAt serves whoever connects.
func serveAt(c *cli.Context, o *host.Options, at entry.Address) error {
	// What is wrong with the address shows now rather than when the machine has died and its notice is used up. Nobody is
	// let in before there is something to serve.
	if err := at.Check(); err != nil {
		return err
	}
	m, err := attachAhead(c.Context, o)
	if err != nil {
		return err
	}
	defer m.Close()
	listener, err := at.Listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	entry.WarnExposed(c.App.ErrWriter, listener.Addr())
	if _, err := fmt.Fprintf(c.App.Writer, "physgdb: listening on %v\n", listener.Addr()); err != nil {
		return err
	}
	return newServer(m, o).ServeListener(c.Context, listener)
}

// serveStdio serves the debugger that started this command and already waits for an answer.
func serveStdio(c *cli.Context, o *host.Options) error {
	wire, err := entry.TakeStdio()
	if err != nil {
		return usagef("serve: --listen stdio: %w", err)
	}
	defer wire.Close()
	debugger.LeaveKeys()
	ctx, cancel := context.WithCancelCause(c.Context)
	defer cancel(nil)
	answer := wire.KeepWaiting(func() { cancel(errors.New("the debugger went away before the kernel was found")) })
	m, err := attachAhead(ctx, o)
	answer()
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return refuseStdio(ctx, wire, err)
	}
	defer m.Close()
	fmt.Fprintln(c.App.ErrWriter, "physgdb: listening on stdio")
	return newServer(m, o).Serve(ctx, wire)
}

// refuseStdio lets the debugger itself say why there is nothing to debug, since what we say is not shown everywhere that
// a debugger runs.
func refuseStdio(ctx context.Context, wire net.Conn, why error) error {
	none := func(context.Context) (gdbstub.Target, error) { return nil, why }
	_ = gdbstub.NewServer(none, nil).Serve(ctx, wire) // the error is why
	return why
}
