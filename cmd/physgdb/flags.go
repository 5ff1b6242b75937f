package main

import (
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"physgdb/cmd/internal/host"
	"physgdb/internal/plain"
)

// Options that several commands have.
var (
	cr3Flag = &cli.StringFlag{Name: "cr3", Usage: "the `CR3` to start from: hexadecimal, or hello:NAME for the process " +
		"that told its own; without it the kernel is looked for"}
	notifyFlag = &cli.StringFlag{Name: "notify", Usage: "where the host's notices come from: udp://ADDRESS:PORT, to wait " +
		"for that of its panic, or `WHERE` physgdb notify kept them: a file"}
	vmcoreinfoFlag = &cli.StringFlag{Name: "vmcoreinfo", Usage: "the physical address of the host's VMCOREINFO note, to " +
		"find the kernel by: `HEX`, as in its /sys/kernel/vmcoreinfo"}
	vmlinuxFlag = &cli.StringFlag{Name: "vmlinux", Usage: "the kernel's vmlinux `FILE`, which adds source lines and local variables"}
	symbolsFlag = &cli.StringFlag{Name: "symbols", Value: host.SymbolsAuto, Usage: "where names and types come `FROM`: ram, the " +
		"host's own memory; auto, a vmlinux of the kernel's build-id where one is found, else ram; none; or a vmlinux FILE"}
	debugDirFlag = &cli.StringSliceFlag{Name: "debug-dir", Usage: "`DIR` with vmlinuxes, beside the usual places; may be given " +
		"more than once"}
	trustFlag = &cli.BoolFlag{Name: "trust-build-id", Usage: "use what was kept of a kernel of this build-id without comparing it " +
		"with memory: faster, but only for a machine that was not tampered with"}
	cacheLimitFlag = &cli.StringFlag{Name: "cache-limit", Value: "2GiB", EnvVars: []string{"PHYSGDB_CACHE_LIMIT"},
		Usage: "how much may be kept for the next run: a `SIZE`; see physgdb cache"}
	modulesFlag = &cli.StringSliceFlag{Name: "modules", Usage: "`DIR` with the files of loaded modules, beside the usual " +
		"places; may be given more than once"}
	ramFlag = &cli.StringFlag{Name: "ram", Usage: "where the host has RAM: a `FILE` with its /proc/iomem, or with " +
		"lines start-end"}
	liveFlag    = &cli.BoolFlag{Name: "live", Usage: "the host is not dead: continue and Ctrl-C in the debugger take a new look at it"}
	timeoutFlag = &cli.DurationFlag{Name: "timeout", Usage: "how long the bridge may leave one request unanswered, " +
		"retries included, such as 500ms", DefaultText: "as the source has it"}
	logLevelFlag = &cli.StringFlag{Name: "log-level", Value: "warn", Usage: "`LEVEL` of the log on stderr: error, warn, " +
		"info, debug, trace"}
	logJSONFlag = &cli.BoolFlag{Name: "log-json", Usage: "write the log as JSON"}
)

// logFlags, memoryFlags and machineFlags are what a command takes that logs, reads memory, or finds the kernel.
func logFlags() []cli.Flag    { return []cli.Flag{logLevelFlag, logJSONFlag} }
func memoryFlags() []cli.Flag { return append([]cli.Flag{ramFlag, timeoutFlag}, logFlags()...) }
func machineFlags() []cli.Flag {
	flags := []cli.Flag{cr3Flag, notifyFlag, vmcoreinfoFlag, vmlinuxFlag, symbolsFlag, debugDirFlag, modulesFlag}
	return append(append(flags, cacheFlags()...), memoryFlags()...)
}

// cacheFlags are what a command takes that uses what was kept of a kernel.
func cacheFlags() []cli.Flag { return []cli.Flag{trustFlag, cacheLimitFlag} }

// logger makes the log that the user asked for.
func logger(c *cli.Context) (hclog.Logger, error) {
	level := hclog.LevelFromString(c.String(logLevelFlag.Name))
	if level == hclog.NoLevel {
		return nil, usagef("--log-level %s: want error, warn, info, debug or trace", c.String(logLevelFlag.Name))
	}
	var out io.Writer = os.Stderr
	if c.App.ErrWriter != nil {
		out = c.App.ErrWriter
	}
	asJSON := c.Bool(logJSONFlag.Name)
	if asJSON {
		out = plain.NewJSONWriter(out)
	}
	return hclog.New(&hclog.LoggerOptions{
		Name: filepath.Base(c.App.Name), Level: level, JSONFormat: asJSON, Output: out,
	}), nil
}

// hostOptions collects what the user said of the machine whose memory is source.
func hostOptions(c *cli.Context, source string) (*host.Options, error) {
	log, err := logger(c)
	if err != nil {
		return nil, err
	}
	if c.IsSet(timeoutFlag.Name) && c.Duration(timeoutFlag.Name) <= 0 {
		return nil, usagef("--timeout %v: want a time such as 500ms", c.Duration(timeoutFlag.Name))
	}
	vmlinux, from, err := symbolOptions(c)
	if err != nil {
		return nil, err
	}
	var limit int64
	if text := c.String(cacheLimitFlag.Name); text != "" { // not every command has the option
		if limit, err = host.ParseSize(text); err != nil {
			return nil, usagef("--%s: %w", cacheLimitFlag.Name, err)
		}
	}
	return &host.Options{
		Source:     source,
		CR3:        c.String(cr3Flag.Name),
		Notify:     c.String(notifyFlag.Name),
		Vmlinux:    vmlinux,
		Symbols:    from,
		DebugDirs:  c.StringSlice(debugDirFlag.Name),
		CacheLimit: limit, TrustBuildID: c.Bool(trustFlag.Name),
		RAM:        c.String(ramFlag.Name),
		VMCoreInfo: c.String(vmcoreinfoFlag.Name),
		Threads:    c.String(threadsFlag.Name),
		Live:       c.Bool(liveFlag.Name),
		Modules:    c.StringSlice(modulesFlag.Name),
		Timeout:    c.Duration(timeoutFlag.Name),
		Log:        log,
		Notes:      c.App.ErrWriter,
	}, nil
}

// symbolOptions tells a file that the user names from a way to get along without.
func symbolOptions(c *cli.Context) (vmlinux, from string, err error) {
	vmlinux, from = c.String(vmlinuxFlag.Name), c.String(symbolsFlag.Name)
	switch {
	case !c.IsSet(symbolsFlag.Name):
		return vmlinux, from, nil
	case c.IsSet(vmlinuxFlag.Name):
		return "", "", usagef("--vmlinux and --symbols exclude each other: either says where names come from")
	case from == host.SymbolsAuto || from == host.SymbolsRAM || from == host.SymbolsNone:
		return "", from, nil
	}
	if _, err := os.Stat(from); err != nil {
		return "", "", usagef("--symbols %s: want auto, ram, none, or the FILE of a vmlinux: %w", from, err)
	}
	return from, "", nil
}

// attach finds the kernel of the machine whose memory is source.
func attach(c *cli.Context, source string) (*host.Machine, error) {
	o, err := hostOptions(c, source)
	if err != nil {
		return nil, err
	}
	return host.Attach(c.Context, o)
}
