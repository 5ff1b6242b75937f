package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/urfave/cli/v2"

	"physgdb/bridge"
	"physgdb/cmd/internal/host"
)

func readCommand() *cli.Command {
	return &cli.Command{
		Name:      "read",
		Usage:     "read memory: a hex dump, or a file",
		ArgsUsage: "SOURCE ADDRESS LENGTH",
		Description: `ADDRESS is virtual, a number (0x...) or a symbol of the kernel; with --phys it is physical. LENGTH is in bytes.
If not all can be read, what lies before the hole is written, and the exit status is 1.

Examples:
  physgdb read file:/tmp/ram linux_banner 64
  physgdb read file:/tmp/ram --phys 0x2a5c000 4096 -o top-level-table`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "phys", Usage: "ADDRESS is physical"},
			&cli.StringFlag{Name: "o", Usage: "write the bytes to `FILE`, for its owner alone"},
		}, machineFlags()...),
		Action: read,
	}
}

func read(c *cli.Context) error {
	args, err := operands(c, 3, 3)
	if err != nil {
		return err
	}
	length, err := strconv.ParseUint(args[2], 0, 63)
	if err != nil {
		return usagef("read: length %q: want a number of bytes, such as 256 or 0x100", args[2])
	}
	o, err := hostOptions(c, args[0])
	if err != nil {
		return err
	}
	at, closer, err := openAt(c.Context, o, args[1], c.Bool("phys"))
	if err != nil {
		return err
	}
	defer closer.Close()
	if length > 0 && at.addr+(length-1) < at.addr {
		return usagef("read: %d bytes from %#x on reach beyond the last address", length, at.addr)
	}
	if path := c.String("o"); path != "" {
		return host.WritePrivate(path, func(w io.Writer) error { return copyMemory(c.Context, w, at, length) })
	}
	return dump(c.Context, c.App.Writer, at, length)
}

// source is a place in memory, physical or virtual.
type source struct {
	addr uint64
	read func(ctx context.Context, addr uint64, p []byte) (int, error)
}

// openAt finds the place that the user means.
func openAt(ctx context.Context, o *host.Options, address string, physical bool) (*source, io.Closer, error) {
	if physical {
		return openPhys(ctx, o, address)
	}
	if err := checkAddresses(o, []string{address}); err != nil {
		return nil, nil, err
	}
	m, err := host.Attach(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	vas, err := m.Addresses([]string{address})
	if err != nil {
		m.Close()
		return nil, nil, err
	}
	return &source{vas[0], m.Space.ReadMemory}, m, nil
}

func openPhys(ctx context.Context, o *host.Options, address string) (*source, io.Closer, error) {
	pa, err := host.ParseAddress(address)
	if err != nil {
		return nil, nil, usagef("read: physical address %q: want a number such as 0x1000", address)
	}
	mem, err := host.OpenMemory(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	return &source{pa, func(ctx context.Context, addr uint64, p []byte) (int, error) {
		n, err := bridge.Read(ctx, mem, bridge.PhysAddr(addr), p, false)
		if errors.Is(err, bridge.ErrUnknownRAM) {
			err = fmt.Errorf("%w; give --ram FILE, the host's /proc/iomem", err)
		}
		return n, err
	}}, mem, nil
}

// copyMemory writes length bytes from s on to w, as far as they can be read.
func copyMemory(ctx context.Context, w io.Writer, s *source, length uint64) error {
	buf := make([]byte, min(length, 1<<20))
	for done := uint64(0); done < length; {
		n, err := s.read(ctx, s.addr+done, buf[:min(length-done, uint64(len(buf)))])
		if _, werr := w.Write(buf[:n]); werr != nil {
			return werr
		}
		done += uint64(n)
		if err != nil {
			return fmt.Errorf("%d of %d bytes: %w", done, length, err)
		}
	}
	return nil
}

// dump writes length bytes from s on to w, sixteen on a line.
func dump(ctx context.Context, w io.Writer, s *source, length uint64) error {
	out := bufio.NewWriter(w)
	lines := &hexDump{w: out, addr: s.addr}
	return cmp.Or(copyMemory(ctx, lines, s, length), lines.flush(), out.Flush())
}

// hexDump writes bytes as lines of address, hexadecimal and text.
type hexDump struct {
	w    io.Writer
	addr uint64 // of the first byte held
	held []byte
}

const perLine = 16

func (d *hexDump) Write(p []byte) (int, error) {
	d.held = append(d.held, p...)
	for len(d.held) >= perLine {
		if err := d.line(d.held[:perLine]); err != nil {
			return 0, err
		}
		d.held = d.held[perLine:]
	}
	return len(p), nil
}

func (d *hexDump) flush() error {
	if len(d.held) == 0 {
		return nil
	}
	return d.line(d.held)
}

func (d *hexDump) line(b []byte) error {
	dumped := hex.Dump(b) // "00000000  xx …  |text|\n"
	_, err := fmt.Fprintf(d.w, "%#016x%s", d.addr, dumped[8:])
	d.addr += uint64(len(b))
	return err
}
