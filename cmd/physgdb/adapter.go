package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"

	"github.com/urfave/cli/v2"

	"physgdb/bridge/nettlp"
	"physgdb/cmd/internal/entry"
	"physgdb/cmd/internal/host"
)

func adapterCommand() *cli.Command {
	return &cli.Command{
		Name:      "adapter",
		Usage:     "be a NetTLP adapter in software, over the memory of any source",
		ArgsUsage: "[SOURCE]",
		Description: `Answers PCIe memory reads that come in UDP datagrams, as a NetTLP adapter in the host would: read-only, and
"unsupported request" for what is not RAM. For trying things out, and for tests of bad links. Needs an IP address other
than the client's; the ports are fixed by the protocol. Says what it has answered when it ends.

Example:
  physgdb adapter file:/tmp/ram --listen 127.0.0.2 &
  physgdb info 'nettlp://127.0.0.2?local=127.0.0.3&requester=01:00'`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "memory", Usage: "the same as a SOURCE of file:`FILE`"},
			&cli.StringFlag{Name: "listen", Value: "127.0.0.2", Usage: "IPv4 `ADDRESS` of the adapter"},
			&cli.IntFlag{Name: "port", Value: nettlp.BasePort, Usage: "UDP `PORT` of tag 0"},
			&cli.IntFlag{Name: "mps", Value: nettlp.DefaultMPS, Usage: "most `BYTES` in one completion"},
			&cli.IntFlag{Name: "rcb", Value: nettlp.DefaultRCB, Usage: "read completion boundary, 64 or 128 `BYTES`"},
			&cli.DurationFlag{Name: "delay", Usage: "how long each answer is on its way"},
			&cli.Float64Flag{Name: "loss", Usage: "`PROBABILITY` that a datagram is lost, 0 to 1"},
			&cli.Float64Flag{Name: "reorder", Usage: "`PROBABILITY` that a completion is overtaken by the next"},
			&cli.Float64Flag{Name: "dup", Usage: "`PROBABILITY` that a completion comes twice"},
		}, memoryFlags()...),
		Action: adapter,
	}
}

func adapter(c *cli.Context) error {
	args, err := operands(c, 0, 1)
	if err != nil {
		return err
	}
	file := c.String("memory")
	var source string
	switch {
	case len(args) == 1 && file == "":
		source = args[0]
	case len(args) == 0 && file != "":
		source = "file:" + file
	default:
		return usagef("adapter: want either SOURCE or --memory FILE")
	}
	ip, err := netip.ParseAddr(c.String("listen"))
	if err != nil || !ip.Is4() {
		return usagef("adapter: --listen %s: want an IPv4 address of this machine, such as 127.0.0.2", c.String("listen"))
	}
	if port, most := c.Int("port"), 1<<16-nettlp.MaxTags; port < 1 || port > most {
		return usagef("adapter: --port %d: want 1 to %d, as tags take %d ports from there on", port, most, nettlp.MaxTags)
	}
	o, err := hostOptions(c, source)
	if err != nil {
		return err
	}
	mem, err := host.OpenMemory(c.Context, o)
	if err != nil {
		return err
	}
	defer mem.Close()
	a, err := nettlp.NewAdapter(mem, &nettlp.AdapterOptions{
		Listen: ip, BasePort: uint16(c.Int("port")), MPS: c.Int("mps"), RCB: c.Int("rcb"), Logger: o.Log,
		Link: nettlp.Link{
			Delay: c.Duration("delay"), Loss: c.Float64("loss"), Reorder: c.Float64("reorder"), Dup: c.Float64("dup"),
		},
	})
	if errno := syscall.Errno(0); err != nil && !errors.As(err, &errno) {
		return usagef("adapter: %w", err) // not the machine, so an option
	}
	if err != nil {
		return err
	}
	defer a.Close()
	entry.WarnExposed(c.App.ErrWriter, &net.UDPAddr{IP: ip.AsSlice(), Port: c.Int("port")})
	fmt.Fprintf(c.App.Writer, "physgdb: adapter at %v\n", ip)
	err = a.Serve(c.Context)
	writeAdapterStats(c.App.ErrWriter, a.Stats())
	if c.Context.Err() != nil {
		return nil // the user ended it
	}
	return err
}

func writeAdapterStats(w io.Writer, s nettlp.Stats) {
	fmt.Fprintf(w, "physgdb: adapter: %d requests, %d completions, %d bytes of RAM; %d requests outside RAM",
		s.Requests, s.Completions, s.Bytes, s.OutsideRAM)
	for _, addr := range s.Offenders {
		fmt.Fprintf(w, " %#x", uint64(addr))
	}
	fmt.Fprintln(w)
}
