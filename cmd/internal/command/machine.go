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
		Help:        "say what this machine is: kernel, panic, CR3, slide, RAM map",
		MonitorArgs: "[registers]",
		MonitorHelp: "what this machine is, what it died of, where its kernel lies; registers: those of the thread, as QEMU writes them",
		About: `With --report it is a page to paste into a bug report: what kernel, what it died of, registers, backtraces of the CPUs and
of blocked tasks, modules, the end of the log. It holds the host's name and its kernel's command line.

Examples:
  physgdb info file:/tmp/ram
  physgdb info file:/tmp/ram --report`,
		Options: []Option{
			{Name: "report", Usage: "what a kernel developer asks first, on one page"},
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
		scope.Space = env.Machine.Space // what else there is to know does not depend on it
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
		Name: "report", In: Monitor, Needs: Machine, Help: "one page to paste into a bug report",
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
		Name: "stats", In: Monitor, Needs: Machine, Help: "what this session has cost the bridge",
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
		Help: "write an ELF file made of a dead machine's memory, in place of its vmlinux",
		About: `The file has what the kernel keeps in its memory about itself: its symbols (kallsyms), types (BTF) and how to unwind its stacks
(ORC), in the form that debuggers load (symbol table, DWARF). gdb gets it by itself from physgdb serve; lldb must be given it.
It has neither source lines nor local variables. A vmlinux of --vmlinux or --symbols only helps
to find the kernel.

The files of modules have the addresses at which the modules ran; lldb needs the commands below for that.

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
		Help: "list or remove the files that are kept for the next run",
		About: `What is made of a kernel's memory (symbols, types, stack frames) is kept in the user's cache directory, so that the next command
need not make it again. A kept file is used only if memory holds what it was made of, byte by byte (--trust-build-id: only if the
build-id is the same). Above the limit (--cache-limit) those that were not used for the longest time are removed.

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
		About:   "It is that of the module, or the commit, as the go command recorded it.\n\nExample:\n  physgdb version --json",
		Options: []Option{jsonOption(nil)},
		Prints:  []any{query.Version{}},
		prepare: func(r *Request) (*Query, error) {
			return &Query{Run: func(_ context.Context, env *Env) error {
				return document(env, query.ReadVersion(), r.on("json"), render.Version)
			}}, nil
		},
	}
}
