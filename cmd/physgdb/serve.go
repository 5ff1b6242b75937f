package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/urfave/cli/v2"

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
		Description: `Finds the kernel in SOURCE and waits for debuggers: gdb -ex 'file vmlinux' -ex 'target remote ADDRESS'.
Prints one line on stdout when it is ready.

Examples:
  physgdb serve file:/tmp/ram --vmlinux vmlinux
  physgdb serve 'nettlp://192.168.10.1?local=192.168.10.3&requester=1b:00' --notify udp://192.168.10.3:6666 --vmlinux vmlinux`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:1234", Usage: "`ADDRESS` for debuggers to connect to"},
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
	o, err := hostOptions(c, args[0])
	if err != nil {
		return err
	}
	if o.Threads != host.ThreadsTasks && o.Threads != host.ThreadsCPUs {
		return usagef("serve: --threads %s: want tasks or cpus", o.Threads)
	}
	// What is wrong with the address shows now rather than when the machine has died and its notice is used up. Nobody is
	// let in before there is something to serve.
	early, err := listen(c.String("listen"))
	if err != nil {
		return err
	}
	early.Close()
	m, err := host.Attach(c.Context, o)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.LookAhead(c.Context); err != nil {
		return err
	}
	listener, err := listen(c.String("listen"))
	if err != nil {
		return err
	}
	defer listener.Close()
	if ip := listener.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		fmt.Fprintf(c.App.ErrWriter, "physgdb: WARNING: WHOEVER REACHES %v READS EVERY SECRET OF THE HOST\n", listener.Addr())
	}
	if _, err := fmt.Fprintf(c.App.Writer, "physgdb: listening on %v\n", listener.Addr()); err != nil {
		return err
	}
	server := gdbstub.NewServer(m.NewSession, &gdbstub.Options{Logger: o.Log})
	return server.ServeListener(c.Context, listener)
}

// listen opens the address that debuggers connect to.
func listen(address string) (net.Listener, error) {
	_, port, err := net.SplitHostPort(address)
	if _, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil {
		return nil, usagef("serve: --listen %s: want ADDRESS:PORT, such as 127.0.0.1:1234", address)
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("another program listens on %s; choose another address with --listen", address)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for debuggers: %w; choose another address with --listen", err)
	}
	return l, nil
}
