package main

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"physgdb/cmd/internal/command"
	"physgdb/cmd/internal/machine"
	"physgdb/cmd/internal/size"
	"physgdb/internal/plain"
)

// flags returns the options of a command for the cli package.
func flags(c *command.Command) []cli.Flag {
	var flags []cli.Flag
	for _, o := range c.AllOptions() {
		flags = append(flags, flag(&o))
	}
	return flags
}

func flag(o *command.Option) cli.Flag {
	usage := o.Usage
	if o.Value != "" && !strings.Contains(usage, "`") {
		usage = "`" + o.Value + "`: " + usage
	}
	var env []string
	if o.Env != "" {
		env = []string{o.Env}
	}
	switch o.Kind {
	case command.Text:
		return &cli.StringFlag{Name: o.Name, Usage: usage, Value: o.Default, DefaultText: o.Shown, EnvVars: env}
	case command.Int:
		n, _ := strconv.Atoi(o.Default)
		return &cli.IntFlag{Name: o.Name, Usage: usage, Value: n}
	case command.Float:
		f, _ := strconv.ParseFloat(o.Default, 64)
		return &cli.Float64Flag{Name: o.Name, Usage: usage, Value: f}
	case command.Duration:
		d, _ := time.ParseDuration(o.Default)
		return &cli.DurationFlag{Name: o.Name, Usage: usage, Value: d, DefaultText: o.Shown}
	case command.List:
		return &cli.StringSliceFlag{Name: o.Name, Usage: usage}
	}
	return &cli.BoolFlag{Name: o.Name, Usage: usage}
}

// logger makes the log that the user asked for.
func logger(c *cli.Context) (hclog.Logger, error) {
	level := hclog.LevelFromString(c.String("log-level"))
	if level == hclog.NoLevel {
		return nil, usagef("--log-level %s: want error, warn, info, debug or trace", c.String("log-level"))
	}
	var out io.Writer = os.Stderr
	if c.App.ErrWriter != nil {
		out = c.App.ErrWriter
	}
	asJSON := c.Bool("log-json")
	if asJSON {
		out = plain.NewJSONWriter(out)
	}
	return hclog.New(&hclog.LoggerOptions{
		Name: filepath.Base(c.App.Name), Level: level, JSONFormat: asJSON, Output: out,
	}), nil
}

// machineOptions returns what the user said about the machine whose memory is source.
func machineOptions(c *cli.Context, source string) (*machine.Options, error) {
	log, err := logger(c)
	if err != nil {
		return nil, err
	}
	if c.IsSet("timeout") && c.Duration("timeout") <= 0 {
		return nil, usagef("--timeout %v: want a time such as 500ms", c.Duration("timeout"))
	}
	vmlinux, from, err := symbolOptions(c)
	if err != nil {
		return nil, err
	}
	var limit int64
	if text := c.String("cache-limit"); text != "" { // not every command has the option
		if limit, err = size.Parse(text); err != nil {
			return nil, usagef("--cache-limit: %w", err)
		}
	}
	return &machine.Options{
		Source:     source,
		CR3:        c.String("cr3"),
		Notify:     c.String("notify"),
		Vmlinux:    vmlinux,
		Symbols:    from,
		DebugDirs:  c.StringSlice("debug-dir"),
		CacheLimit: limit, TrustBuildID: c.Bool("trust-build-id"),
		RAM:        c.String("ram"),
		VMCoreInfo: c.String("vmcoreinfo"),
		Live:       c.Bool("live"),
		Modules:    c.StringSlice("modules"),
		Timeout:    c.Duration("timeout"),
		Log:        log,
		Notes:      c.App.ErrWriter,
	}, nil
}

// symbolOptions separates the path of a vmlinux from the ways to do without one.
func symbolOptions(c *cli.Context) (vmlinux, from string, err error) {
	vmlinux, from = c.String("vmlinux"), c.String("symbols")
	switch {
	case !c.IsSet("symbols"):
		return vmlinux, from, nil
	case c.IsSet("vmlinux"):
		return "", "", usagef("--vmlinux and --symbols exclude each other: each says where names come from")
	case from == machine.SymbolsAuto || from == machine.SymbolsRAM || from == machine.SymbolsNone:
		return "", from, nil
	}
	if _, err := os.Stat(from); err != nil {
		return "", "", usagef("--symbols %s: want auto, ram, none, or the FILE of a vmlinux: %w", from, err)
	}
	return from, "", nil
}
