package main

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"physgdb/cmd/internal/debugger"
	"physgdb/cmd/internal/entry"
)

// startDebugger looks for the debugger before the machine, whose notice it may have to wait for.
func startDebugger(c *cli.Context) error {
	source, own, err := splitWords(c)
	if err != nil {
		return err
	}
	o, threads, err := servedOptions(c, source)
	if err != nil {
		return err
	}
	d, err := chosenDebugger(c)
	if err != nil {
		return err
	}
	m, err := attachAhead(c.Context, o, threads)
	if err != nil {
		return err
	}
	defer m.Close()
	listener, err := entry.ListenPrivately()
	if err != nil {
		return err
	}
	defer listener.Close()
	s := &debugger.Session{Socket: listener.Path(), Vmlinux: m.VmlinuxPath(), Modules: o.Modules, Args: own}
	if m.Process != "" {
		s.Vmlinux = "" // the main file is a program, see Relocation in package target
	} else if c.Bool("lldb") {
		scratch, err := os.MkdirTemp("", "physgdb-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(scratch)
		if s.ModuleFiles, err = m.SaveModules(c.Context, scratch); err != nil {
			o.Log.Warn("lldb gets only some of the modules", "why", err)
		}
	}

	// The stub outlives a signal that ends this command until the debugger has said goodbye.
	ctx, stop := context.WithCancel(context.WithoutCancel(c.Context))
	defer stop()
	served := make(chan error, 1)
	go func() { served <- m.server().ServeListener(ctx, listener) }()
	err = d.Run(c.Context, s)
	stop()
	return errors.Join(err, <-served)
}

// splitWords separates SOURCE from the words for the debugger: permute leaves "--" between them.
func splitWords(c *cli.Context) (source string, own []string, err error) {
	words := c.Args().Slice()
	if i := slices.Index(words, "--"); i >= 0 {
		words, own = words[:i], words[i+1:]
	}
	switch {
	case len(words) == 0:
		return "", nil, usagef("gdb: too few arguments: want %s; see physgdb gdb --help", c.Command.ArgsUsage)
	case len(words) > 1:
		return "", nil, usagef("gdb: unexpected arguments: %q; arguments for the debugger follow --", words[1:])
	}
	return words[0], own, nil
}

func chosenDebugger(c *cli.Context) (*debugger.Debugger, error) {
	switch {
	case c.Bool("lldb") && c.IsSet("gdb"):
		return nil, usagef("gdb: --gdb and --lldb exclude each other")
	case c.Bool("lldb"):
		return debugger.LLDB()
	}
	return debugger.GDB(c.String("gdb"))
}
