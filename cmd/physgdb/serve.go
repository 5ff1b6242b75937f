package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"physgdb/cmd/internal/debugger"
	"physgdb/cmd/internal/entry"
	"physgdb/cmd/internal/machine"
	"physgdb/cmd/internal/query"
	"physgdb/cmd/internal/render"
	"physgdb/cmd/internal/target"
	"physgdb/gdbstub"
)

func serve(c *cli.Context) error {
	args, err := operands(c, 1, 1)
	if err != nil {
		return err
	}
	o, threads, err := servedOptions(c, args[0])
	if err != nil {
		return err
	}
	at, err := entry.Parse(c.String("listen"))
	switch {
	case err != nil:
		return usagef("serve: --listen %s: %w", c.String("listen"), err)
	case at.IsStdio():
		return serveStdio(c, o, threads)
	}
	return serveAt(c, o, threads, at)
}

// served is a machine that debuggers look at.
type served struct {
	*machine.Machine
	target *target.Machine
	log    hclog.Logger
}

// servedOptions returns the options of a machine that debuggers look at, and which threads they are
// shown.
func servedOptions(c *cli.Context, source string) (o *machine.Options, threads string, err error) {
	o, err = machineOptions(c, source)
	threads = c.String("threads")
	if err == nil {
		o.SymbolFile = true
	}
	if err == nil && threads != target.ThreadsTasks && threads != target.ThreadsCPUs {
		err = usagef("%s: --threads %s: want tasks or cpus", c.Command.Name, threads)
	}
	return o, threads, err
}

// attachAhead finds the kernel, and reads what a debugger asks for first.
func attachAhead(ctx context.Context, o *machine.Options, threads string) (*served, error) {
	m, err := machine.Attach(ctx, o)
	if err != nil {
		return nil, err
	}
	s := &served{m, target.New(m, threads), o.Log}
	if err := s.target.ReadAhead(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends what is read in the background, and closes the machine.
func (s *served) Close() error {
	s.target.Close()
	return s.Machine.Close()
}

func (s *served) server() *gdbstub.Server {
	return gdbstub.NewServer(s.target.NewSession, &gdbstub.Options{Logger: s.log})
}

// serveAt serves all clients that connect to an address.
func serveAt(c *cli.Context, o *machine.Options, threads string, at entry.Address) error {
	// A wrong address is reported now, and not when the machine has died and its notice is used up.
	// No client can connect before there is something to serve.
	if err := at.Check(); err != nil {
		return err
	}
	m, err := attachAhead(c.Context, o, threads)
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
	ready := &query.Listening{Address: listener.Addr().String()}
	if err := render.Listening(c.App.Writer, "listening on", ready, c.Bool("json")); err != nil {
		return err
	}
	return m.server().ServeListener(c.Context, listener)
}

// serveStdio serves the debugger that started this command and already waits for an answer.
func serveStdio(c *cli.Context, o *machine.Options, threads string) error {
	wire, err := entry.TakeStdio()
	if err != nil {
		return usagef("serve: --listen stdio: %w", err)
	}
	defer wire.Close()
	debugger.LeaveKeys()
	ctx, cancel := context.WithCancelCause(c.Context)
	defer cancel(nil)
	answer := wire.KeepWaiting(func() { cancel(errors.New("the debugger disconnected before the kernel was found")) })
	m, err := attachAhead(ctx, o, threads)
	answer()
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return refuseStdio(ctx, wire, err)
	}
	defer m.Close()
	fmt.Fprintln(c.App.ErrWriter, "physgdb: listening on stdio")
	return m.server().Serve(ctx, wire)
}

// refuseStdio lets the debugger itself say why there is nothing to debug, since what we say is not
// shown everywhere that a debugger runs.
func refuseStdio(ctx context.Context, wire net.Conn, why error) error {
	none := func(context.Context) (gdbstub.Target, error) { return nil, why }
	_ = gdbstub.NewServer(none, nil).Serve(ctx, wire) // the error is why
	return why
}
