package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"physgdb/cmd/internal/machine"
	"physgdb/cmd/internal/query"
	"physgdb/cmd/internal/render"
	"physgdb/internal/plain"
	"physgdb/mmu"
)

func cr3Command() Command {
	return Command{
		Name: "cr3", Args: "[PID|NAME|kernel|panic|HEX]...", In: Shell | Monitor, Needs: Machine,
		Help:        "list the CR3 values of the kernel, of the task that panicked, and of processes",
		MonitorArgs: "[HEX|PID|NAME|kernel|panic|threads]",
		MonitorHelp: "show the address space, or select one for all threads; threads: each thread uses its own again",
		About: `The printed values are valid arguments of --cr3. NAME is the name of a process, or of a program that
has sent its CR3 in a notice.

Examples:
  physgdb cr3 file:/tmp/ram
  physgdb cr3 file:/tmp/ram 143 nginx`,
		Options: []Option{jsonOption(query.Root{})},
		Prints:  []any{query.Root{}},
		prepare: func(r *Request) (*Query, error) {
			return tableQuery(r, &render.Roots, func(ctx context.Context, env *Env) ([]query.Root, error) {
				roots, err := query.Roots(ctx, env.Machine, r.Args)
				if err != nil {
					err = fmt.Errorf("cr3: %w", err)
				}
				return roots, err
			}), nil
		},
	}
}

func findCommand() Command {
	return Command{
		Name: "find", Args: "[/SIZE] [/MAX] START, +LENGTH|END, PATTERN...", In: Shell | Monitor, Needs: Machine, ReadsMemory: true,
		Help: "search memory for text, numbers or the addresses of symbols, as gdb's find does, but without a time limit",
		About: `The syntax is that of gdb's find. START and END (inclusive) are addresses (0x...) or symbols. A PATTERN is
a "text", a number, or &SYMBOL for the address of a symbol (for the addresses of all symbols of that name, if
there are several). In a text \x00 is a byte; unlike gdb's find, this command adds no zero byte at its end.
Several patterns match where they follow one another in memory.
SIZE is the size of numbers: b, h, w, g for 1, 2, 4, 8 bytes. Without SIZE, a number has 4 bytes, or 8 if its
value needs them. MAX is the maximum number of matches to show (default 1000). Addresses that are not mapped,
or not mapped to RAM, are skipped.

Examples:
  physgdb find file:/tmp/ram _text, +0x2000000, '"Linux version"'
  physgdb find file:/tmp/ram /g 0xffff800000000000, 0xffffffffffffffff, '&init_task'`,
		Options: []Option{jsonOption(query.Hit{})},
		Prints:  []any{query.Hit{}},
		prepare: func(r *Request) (*Query, error) {
			f, err := query.ParseFind(strings.Join(r.Args, " "))
			if err != nil {
				return nil, err
			}
			return &Query{Run: func(ctx context.Context, env *Env) error { return find(ctx, env, f, r.on("json")) }}, nil
		},
	}
}

func find(ctx context.Context, env *Env, f *query.Find, asJSON bool) error {
	scope, err := env.Scope(ctx)
	if err != nil {
		return err
	}
	write := render.Hits.Rows(env.Out, asJSON)
	result, err := f.Run(ctx, env.Machine, scope, env.Console, func(h *query.Hit) error {
		return errors.Join(write(h), env.Out.Flush()) // a search may take long
	})
	if result != nil && !asJSON {
		err = errors.Join(err, render.FindResult(env.Out, result, f.Max))
	}
	return err
}

func mapsCommand() Command {
	return Command{
		Name: "maps", Args: "[PID|NAME|kernel|panic|HEX]", In: Shell | Monitor, Needs: Machine,
		Help:        "list every mapping under a CR3",
		MonitorHelp: "list the mappings of user space (of this thread or of a process) or of the kernel; --all: one line for each page",
		About: `Each line shows a virtual range, the physical address of its first page, the page size, the rights (rwx; u for
user, k for kernel), and the index of its first page in each page table. Adjacent pages with equal rights share one
line. So do repeated mappings of the same pages at a constant distance.
Without an argument, the CR3 is that of --cr3 or else the kernel's own. The arguments are those of physgdb cr3.

Examples:
  physgdb maps file:/tmp/ram --cr3 0x2a5c000
  physgdb maps file:/tmp/ram nginx --user
  physgdb maps file:/tmp/ram --notify notices.jsonl --cr3 hello:clock --user --json`,
		Options: []Option{
			{Name: "all", Usage: "print one line for each page"},
			jsonOption(query.Mapping{}),
			{Name: "user", Usage: "list only the lower half of the address space"},
			{Name: "kernel", Usage: "list only the upper half of the address space"},
		},
		Prints:  []any{query.Mapping{}},
		prepare: prepareMaps,
	}
}

// maxMonitorMaps is the maximum number of mappings that a debugger shows. The debugger cannot
// interrupt the command.
const maxMonitorMaps = 1000

func prepareMaps(r *Request) (*Query, error) {
	o := &query.MapsOptions{Range: mmu.All, All: r.on("all")}
	words := r.Args
	if r.Monitor {
		o.Range, o.Max = mmu.Lower, maxMonitorMaps
		if len(words) > 0 && words[0] == "kernel" { // the kernel's half, in a debugger
			o.Range, words = mmu.Upper, words[1:]
		}
	}
	switch {
	case len(words) > 1:
		return nil, fmt.Errorf("unexpected arguments: %q; want one PID, NAME or CR3", words[1:])
	case r.on("user") && r.on("kernel"):
		return nil, errors.New("--user and --kernel exclude each other; without either, both halves are listed")
	case r.on("user"):
		o.Range = mmu.Lower
	case r.on("kernel"):
		o.Range = mmu.Upper
	}
	return &Query{Run: func(ctx context.Context, env *Env) error {
		space, err := mapsSpace(ctx, env, words)
		if err != nil {
			return fmt.Errorf("maps: %w", err)
		}
		return maps(ctx, env, space, o, r.on("json"))
	}}, nil
}

// mapsSpace returns the address space that the words name, or else the current one.
func mapsSpace(ctx context.Context, env *Env, words []string) (*mmu.Space, error) {
	if len(words) > 0 {
		return query.SpaceNamed(ctx, env.Machine, words[0])
	}
	scope, err := env.Scope(ctx)
	return scope.Space, err
}

// maxShownDamage is how many damaged places of the page tables are listed.
const maxShownDamage = 10

func maps(ctx context.Context, env *Env, space *mmu.Space, o *query.MapsOptions, asJSON bool) error {
	damaged := 0
	result, err := query.Maps(ctx, env.Machine, space, o, render.Mappings.Rows(env.Out, asJSON), func(place error) {
		if damaged++; damaged <= maxShownDamage {
			fmt.Fprintf(env.Notes, "physgdb: maps: %v\n", place)
		}
	})
	if result.More {
		fmt.Fprintf(env.Notes, "physgdb: maps: only the first %d lines are shown; physgdb maps lists all\n", o.Max)
	}
	fmt.Fprintf(env.Notes, "physgdb: maps: %d pages in %d lines; ", result.Pages, result.Lines)
	return errors.Join(err, render.Stats(env.Notes, query.ReadStats(env.Memory)))
}

func vtopCommand() Command {
	return Command{
		Name: "vtop", Args: "ADDRESS...", In: Shell | Monitor, Needs: Machine,
		Help: "explain how virtual addresses are translated, entry by entry",
		About: `An address is a number (0x...) or a symbol of the kernel. If an address is not mapped,
the last line names the table entry that ends the walk.

Example:
  physgdb vtop file:/tmp/ram linux_banner 0xffffffffff5fd000`,
		Options: []Option{jsonOption(query.Walk{})},
		Prints:  []any{query.Walk{}},
		prepare: func(r *Request) (*Query, error) {
			if len(r.Args) == 0 {
				return nil, errors.New("too few arguments: want ADDRESS..., numbers (0x...) or symbols")
			}
			return &Query{
				Run:    func(ctx context.Context, env *Env) error { return vtop(ctx, env, r) },
				Adjust: func(o *machine.Options) error { return checkAddresses(o, r.Args) },
			}, nil
		},
	}
}

func vtop(ctx context.Context, env *Env, r *Request) error {
	vas, err := query.Addresses(env.Machine, r.Args)
	if err != nil {
		return err
	}
	scope, err := env.Scope(ctx)
	if err != nil {
		return err
	}
	failed := 0
	write := render.Walks.Rows(env.Out, r.on("json"))
	for _, va := range vas {
		walk, err := query.ReadWalk(ctx, env.Machine, scope.Space, va)
		if err != nil {
			failed++
		}
		if err := errors.Join(write(walk), env.Out.Flush()); err != nil {
			return err
		}
	}
	if failed > 0 && !r.Monitor {
		return fmt.Errorf("not translated: %d of %d, for the reasons above", failed, len(vas))
	}
	return nil
}

// checkAddresses returns an error for text that cannot be an address. It runs before the machine is
// opened, so it cannot check whether a symbol exists.
func checkAddresses(o *machine.Options, texts []string) error {
	if o.Vmlinux != "" || o.Symbols != machine.SymbolsNone {
		return nil
	}
	for _, text := range texts {
		if _, err := query.ParseAddress(text); err != nil {
			return machine.Usagef("%w, and --symbols none leaves no symbols", err)
		}
	}
	return nil
}

func readCommand() Command {
	return Command{
		Name: "read", Args: "ADDRESS LENGTH", In: Shell, Needs: Machine,
		Help: "print memory as a hex dump, or write it to a file",
		About: `ADDRESS is virtual, a number (0x...) or a symbol of the kernel; with --phys it is physical. LENGTH is in bytes.
If a part cannot be read, the bytes before it are written, and the exit status is 1.

Examples:
  physgdb read file:/tmp/ram linux_banner 64
  physgdb read file:/tmp/ram --phys 0x2a5c000 4096 -o top-level-table`,
		Options: []Option{
			{Name: "phys", Usage: "ADDRESS is physical"},
			{Name: "o", Kind: Text, Value: "FILE", Files: true, Usage: "write the bytes to `FILE`, which only its owner can read"},
			{Name: "json", Usage: "one JSON object for each 16 bytes: " + strings.Join(jsonKeys(query.Bytes{}), ", ") +
				"; with -o one: " + strings.Join(jsonKeys(query.SavedMemory{}), ", ")},
		},
		Prints:  []any{query.Bytes{}, query.SavedMemory{}},
		prepare: prepareRead,
	}
}

func prepareRead(r *Request) (*Query, error) {
	switch {
	case len(r.Args) < 2:
		return nil, errors.New("too few arguments: want ADDRESS LENGTH")
	case len(r.Args) > 2:
		return nil, fmt.Errorf("unexpected arguments: %q", r.Args[2:])
	}
	address, phys := r.Args[0], r.on("phys")
	length, err := strconv.ParseUint(r.Args[1], 0, 63)
	if err != nil {
		return nil, fmt.Errorf("length %q: want a number of bytes, such as 256 or 0x100", r.Args[1])
	}
	if _, err := query.ParseAddress(address); phys && err != nil {
		return nil, fmt.Errorf("physical address %q: want a number such as 0x1000", address)
	}
	q := &Query{MemoryOnly: phys, Run: func(ctx context.Context, env *Env) error {
		at, read, err := readAt(ctx, env, address, phys)
		if err != nil {
			return err
		}
		if length > 0 && at+(length-1) < at {
			return machine.Usagef("read: %d bytes from %#x extend beyond the last address", length, at)
		}
		return readMemory(ctx, env, r, read, at, length)
	}}
	if !phys {
		q.Adjust = func(o *machine.Options) error { return checkAddresses(o, r.Args[:1]) }
	}
	return q, nil
}

// readAt parses the address and returns it with the reader of its address space.
func readAt(ctx context.Context, env *Env, address string, phys bool) (uint64, query.MemoryReader, error) {
	if phys {
		at, err := query.ParseAddress(address)
		return at, query.PhysicalReader(env.Memory), err
	}
	vas, err := query.Addresses(env.Machine, []string{address})
	if err != nil {
		return 0, nil, err
	}
	scope, err := env.Scope(ctx)
	if err != nil {
		return 0, nil, err
	}
	return vas[0], scope.Space.ReadMemory, nil
}

func readMemory(ctx context.Context, env *Env, r *Request, read query.MemoryReader, at, length uint64) error {
	path := r.Options["o"]
	if path == "" {
		return query.ReadBytes(ctx, read, at, length, render.Bytes.Rows(env.Out, r.on("json")))
	}
	err := query.SaveMemory(ctx, path, read, at, length)
	if err == nil && r.on("json") {
		err = plain.WriteJSON(env.Out, query.SavedMemory{Path: path, Size: length})
	}
	return err
}
