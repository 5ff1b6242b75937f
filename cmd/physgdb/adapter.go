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
	"physgdb/cmd/internal/machine"
	"physgdb/cmd/internal/query"
	"physgdb/cmd/internal/render"
)

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
		return usagef("adapter: --port %d: want 1 to %d, because tags use %d ports from this one", port, most, nettlp.MaxTags)
	}
	o, err := machineOptions(c, source)
	if err != nil {
		return err
	}
	mem, err := machine.OpenMemory(c.Context, o)
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
	if err := render.Listening(c.App.Writer, "adapter at", &query.Listening{Address: ip.String()}, c.Bool("json")); err != nil {
		return err
	}
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
