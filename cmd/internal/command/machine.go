package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"physgdb/cmd/internal/machine"
	"physgdb/cmd/internal/query"
	"physgdb/cmd/internal/render"
	"physgdb/internal/plain"
)

func infoCommand() Command {
	return Command{
		Name: "info", In: Shell | Monitor, Needs: Machine,
		Help:        "show the kernel, the panic, CR3, slide and RAM map of the machine",
		MonitorArgs: "[registers]",
		MonitorHelp: "show the kernel, its addresses and the cause of death; registers: those of the thread, in the format of QEMU",
		About: `With --report the output is a page to paste into a bug report: the kernel, the cause of death, registers,
backtraces of the CPUs and of blocked tasks, modules, and the end of the log. The report contains the host name
and the kernel's command line.

Examples:
  physgdb info file:/tmp/ram
  physgdb info file:/tmp/ram --report`,
		Options: []Option{
			{Name: "report", Usage: "print a one-page report for a kernel developer"},
			jsonOption(nil),
		},
		Prints: []any{query.Info{}, query.Report{}},
		prepare: func(r *Request) (*Query, error) {
			if len(r.Args) > 0 {
				return nil, fmt.Errorf("unexpected arguments: %q", r.Args)
			}
			if r.on("report") {
				return &Query{Run: func(ctx context.Context, env *Env) error { return report(ctx, env, r.on("json")) }}, nil
			}
			return &Query{Run: func(ctx context.Context, env *Env) error { return info(ctx, env, r.on("json")) }}, nil
		},
	}
}

func info(ctx context.Context, env *Env, asJSON bool) error {
	scope, err := env.Scope(ctx)
	if err != nil {
		scope.Space = env.Machine.Space // the rest does not depend on the selected space
	}
	i := query.ReadInfo(ctx, env.Machine, scope.Space)
	err = errors.Join(document(env, i, asJSON, render.Info), err)
	if err != nil || env.Monitor {
		return err
	}
	return errors.Join(env.Out.Flush(), render.Stats(env.Notes, query.ReadStats(env.Memory)), env.Machine.MissingSymbols())
}

// document writes a result that is one value.
func document[T any](env *Env, value *T, asJSON bool, write func(w io.Writer, value *T) error) error {
	if asJSON {
		return plain.WriteJSON(env.Out, value)
	}
	return write(env.Out, value)
}

func reportCommand() Command {
	return Command{
		Name: "report", In: Monitor, Needs: Machine, Help: "print a one-page report to paste into a bug report",
		Options: []Option{jsonOption(nil)}, Prints: []any{query.Report{}},
		prepare: func(r *Request) (*Query, error) {
			return &Query{Run: func(ctx context.Context, env *Env) error { return report(ctx, env, r.on("json")) }}, nil
		},
	}
}

func report(ctx context.Context, env *Env, asJSON bool) error {
	if err := env.Machine.NeedSymbols(); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	r, err := query.ReadReport(ctx, env.Machine)
	return cmp.Or(document(env, r, asJSON, render.Report), err)
}

func statsCommand() Command {
	return Command{
		Name: "stats", In: Monitor, Needs: Machine, Help: "show the number of reads in this session",
		Options: []Option{jsonOption(nil)}, Prints: []any{query.Stats{}},
		prepare: func(r *Request) (*Query, error) {
			return &Query{Run: func(ctx context.Context, env *Env) error {
				s := query.ReadStats(env.Memory)
				return document(env, &s, r.on("json"), func(w io.Writer, s *query.Stats) error { return render.Stats(w, *s) })
			}}, nil
		},
	}
}

func symbolsCommand() Command {
	return Command{
		Name: "symbols", In: Shell, Needs: Machine,
		Help: "write a symbol file made from the memory of a dead machine, to use in place of its vmlinux",
		About: `The file contains the debug information that the kernel keeps in its memory: its symbols (kallsyms), types (BTF)
and unwind tables (ORC). It is an ELF file with a symbol table and DWARF, which debuggers can load. gdb downloads it
from physgdb serve automatically; lldb needs it as an argument. It has no source lines and no local variables.
A vmlinux given with --vmlinux or --symbols is used only to find the kernel.

The files of modules contain the run-time addresses of the modules. lldb loads them with the commands below.

Examples:
  physgdb symbols file:/tmp/ram -o vmlinux.synth
  lldb vmlinux.synth -o 'gdb-remote 127.0.0.1:1234'
  physgdb symbols file:/tmp/ram --modules-to modules
  (lldb) target modules add modules/nfs.ko
  (lldb) target modules load --file nfs.ko --slide 0`,
		Options: []Option{
			{Name: "o", Kind: Text, Value: "FILE", Files: true, Shown: "vmlinux-RELEASE.synth", Usage: "the `FILE` to write"},
			{Name: "modules-to", Kind: Text, Value: "DIR", Files: true, Usage: "also write a file for each loaded module, into `DIR`"},
			jsonOption(nil),
		},
		Prints: []any{query.SavedSymbols{}},
		prepare: func(r *Request) (*Query, error) {
			return &Query{
				Run: func(ctx context.Context, env *Env) error { return saveSymbols(ctx, env, r) },
				Adjust: func(o *machine.Options) error {
					if o.Symbols == machine.SymbolsNone {
						return machine.Usagef("symbols: --symbols none leaves nothing to write")
					}
					o.Symbols, o.SymbolFile, o.Synthetic = machine.SymbolsRAM, true, true
					return nil
				},
			}, nil
		},
	}
}

func saveSymbols(ctx context.Context, env *Env, r *Request) error {
	saved, missing := query.SaveSymbols(ctx, env.Machine, r.Options["o"], r.Options["modules-to"])
	err := document(env, saved, r.on("json"), render.SavedSymbols)
	return errors.Join(err, missing, env.Out.Flush(), render.Stats(env.Notes, query.ReadStats(env.Memory)))
}

func cacheCommand() Command {
	return Command{
		Name: "cache", In: Shell, Needs: Logs,
		Help: "list or remove the cached files",
		About: `Files made from a kernel's memory (symbols, types, stack frames) are kept in the user's cache directory, so that the
next command does not need to make them again. A cached file is used only if it was made from the same bytes that
memory contains now (with --trust-build-id: only if the build-id is the same). If the total size exceeds the limit
(--cache-limit), the least recently used files are removed.

Examples:
  physgdb cache
  physgdb cache --clear`,
		Options: []Option{
			{Name: "clear", Usage: "remove all files that are not in use"},
			jsonOption(query.CachedFile{}),
		},
		Prints: []any{query.CachedFile{}, query.Cleared{}},
		prepare: func(r *Request) (*Query, error) {
			return &Query{Run: func(_ context.Context, env *Env) error { return cache(env, r) }}, nil
		},
	}
}

func cache(env *Env, r *Request) error {
	if r.on("clear") {
		cleared, err := query.ClearCache()
		if cleared == nil {
			return err
		}
		return cmp.Or(document(env, cleared, r.on("json"), render.Cleared), err)
	}
	list, err := query.ListCache()
	if err != nil {
		return err
	}
	return render.Cache(env.Out, list, r.on("json"))
}

func versionCommand() Command {
	return Command{
		Name: "version", In: Shell, Help: "print the version of physgdb",
		About:   "The version is that of the module or the commit, as recorded by the go command.\n\nExample:\n  physgdb version --json",
		Options: []Option{jsonOption(nil)},
		Prints:  []any{query.Version{}},
		prepare: func(r *Request) (*Query, error) {
			return &Query{Run: func(_ context.Context, env *Env) error {
				return document(env, query.ReadVersion(), r.on("json"), render.Version)
			}}, nil
		},
	}
}
