package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"physgdb/internal/plain"
	"physgdb/mmu"
)

// command is one word of `monitor`.
type command struct {
	names      []string // the first is its own, the others stand for it
	usage      string
	help       string
	run        func(s *session, ctx context.Context, w io.Writer, words []string) error
	argumented bool // takes words
}

// commands are what `monitor` knows, in the order of its help: what any [Command] does, and what belongs to a session.
func commands() []command {
	own := []command{
		{
			names: []string{"info"}, usage: "info [registers]", argumented: true,
			help: "what this machine is, what it died of, where its kernel lies; registers: those of the thread, as QEMU writes them",
			run:  (*session).monitorInfo,
		},
		{
			names: []string{"report"}, help: "one page to paste into a bug report",
			run: func(s *session, ctx context.Context, w io.Writer, _ []string) error { return s.m.WriteReport(ctx, w) },
		},
		{
			names: []string{"cr3"}, usage: "cr3 [HEX|PID|NAME|kernel|panic|threads]", argumented: true,
			help: "show the address space, or select one for all threads; threads: each has its own again",
			run:  (*session).monitorCR3,
		},
		{
			names: []string{"vtop"}, usage: "vtop ADDRESS...", argumented: true,
			help: "explain how a virtual address is translated, entry by entry", run: (*session).monitorVtop,
		},
		{
			names: []string{"maps"}, usage: mapsUsage, argumented: true,
			help: "what is mapped: in user space, here or of a process, or by the kernel; --all: every page on a line of its own",
			run:  (*session).monitorMaps,
		},
		findHere(),
		{
			names: []string{"phys"}, usage: "phys [on|off]", argumented: true,
			help: "show whether addresses are physical, or make them so, for this connection alone", run: (*session).monitorPhys,
		},
		{
			names: []string{"files"}, help: "the files of the machine that gdb's remote get can fetch",
			run: (*session).monitorFiles,
		},
		{
			names: []string{"stats"}, help: "what this session has cost the bridge",
			run: func(s *session, _ context.Context, w io.Writer, _ []string) error { return s.m.WriteStats(w) },
		},
		{
			names: []string{"help"}, usage: "help [COMMAND]", argumented: true, help: "this list, or what one command does",
			run: (*session).monitorHelp,
		},
	}
	var all []command
	for _, c := range Commands() {
		if !slices.ContainsFunc(own, func(o command) bool { return o.names[0] == c.Name }) {
			all = append(all, asked(c))
		}
	}
	return append(all, own...)
}

// asked makes a word of `monitor` of what a machine can be asked.
func asked(c Command) command {
	return command{
		names: append([]string{c.Name}, c.Aliases...), usage: c.usage(), help: c.Help, argumented: true,
		run: func(s *session, ctx context.Context, w io.Writer, words []string) error {
			answer, err := c.parse(words)
			if err != nil {
				return fmt.Errorf("monitor %w", err)
			}
			return answer(ctx, s.m, w)
		},
	}
}

// findHere makes find search what the client looks at, and say on its console how far it is.
func findHere() command {
	c := findCommand()
	find := asked(c)
	find.run = func(s *session, ctx context.Context, w io.Writer, words []string) error {
		answer, err := c.parse(words)
		if err != nil {
			return fmt.Errorf("monitor %w", err)
		}
		if s.distrust != nil {
			return s.distrust
		}
		here := *s.m
		if here.Space, err = s.look(ctx); err != nil {
			return err
		}
		here.chosen, here.notes = s.space != nil, console{w}
		return answer(ctx, &here, w)
	}
	return find
}

// Monitor answers `monitor LINE`.
func (s *session) Monitor(ctx context.Context, w io.Writer, line string) error {
	words := splitLine(line)
	if len(words) == 0 {
		words = []string{"help"}
	}
	for _, c := range commands() {
		if !slices.Contains(c.names, words[0]) {
			continue
		}
		if !c.argumented && len(words) > 1 {
			return fmt.Errorf("monitor %s takes no arguments", words[0])
		}
		return c.run(s, ctx, w, words[1:])
	}
	return fmt.Errorf("unknown command %q; try: monitor help", words[0])
}

func (s *session) monitorHelp(_ context.Context, w io.Writer, words []string) error {
	shown := 0
	for _, c := range commands() {
		if len(words) > 0 && !slices.Contains(c.names, words[0]) {
			continue
		}
		help := c.help
		if len(c.names) > 1 {
			help += " (also " + strings.Join(c.names[1:], ", ") + ")"
		}
		fmt.Fprintf(w, "monitor %s\n    %s\n", cmp.Or(c.usage, c.names[0]), help)
		shown++
	}
	if shown == 0 {
		return fmt.Errorf("unknown command %q; monitor help lists all", words[0])
	}
	return nil
}

func (s *session) monitorInfo(ctx context.Context, w io.Writer, words []string) error {
	if len(words) == 1 && words[0] == "registers" {
		return s.monitorRegisters(ctx, w)
	}
	if len(words) > 0 {
		return errors.New("monitor info takes no arguments but registers")
	}
	if s.distrust != nil {
		fmt.Fprintf(w, "Memory is not shown: %v.\n", s.distrust)
	}
	if s.physical {
		fmt.Fprintln(w, physicalIsOn)
	}
	space, err := s.look(ctx)
	if err != nil {
		space = s.m.Space // what else there is to know does not depend on it
	}
	return errors.Join(s.m.writeInfo(ctx, w, space), err)
}

func (s *session) monitorVtop(ctx context.Context, w io.Writer, words []string) error {
	if len(words) == 0 {
		return errors.New("monitor vtop ADDRESS...: an address (0x...) or a symbol is missing")
	}
	vas, err := s.m.Addresses(words)
	if err != nil {
		return err
	}
	space, err := s.look(ctx)
	if err != nil {
		return err
	}
	for _, va := range vas {
		if err := s.m.WriteVtop(ctx, w, space, va); err != nil {
			fmt.Fprintln(w, " ", err)
		}
	}
	return nil
}

func (s *session) monitorCR3(ctx context.Context, w io.Writer, words []string) error {
	switch len(words) {
	case 0:
		space, err := s.look(ctx)
		if err != nil {
			return err
		}
		whose := "of the thread"
		if s.space != nil {
			whose = "selected for all threads; monitor cr3 threads gives each its own again"
		}
		fmt.Fprintf(w, "cr3 %#x (%s)\n", space.Root().CR3, whose)
		return s.m.writeRoots(ctx, w, nil, false)
	case 1:
	default:
		return errors.New("monitor cr3 takes one argument: a hexadecimal CR3, a pid, a name, kernel, panic, or threads")
	}
	if words[0] == "threads" {
		s.space = nil
		_, err := fmt.Fprintf(w, "each thread has its own address space; %s\n", flushAdvice)
		return err
	}
	r, err := s.m.rootNamed(ctx, words[0])
	if err != nil {
		return err
	}
	if err := s.setCR3(ctx, uint64(r.CR3)); err != nil {
		return err
	}
	what := ""
	if r.Comm != "" {
		what = fmt.Sprintf(" of %s, pid %d", plain.Line(r.Comm), r.PID)
	}
	_, err = fmt.Fprintf(w, "cr3 %#x%s, for all threads until monitor cr3 threads; %s\n", s.space.Root().CR3, what, flushAdvice)
	return err
}

// flushAdvice is what a user must do where memory and registers look different from now on.
const flushAdvice = "now have gdb drop what it remembers: maint flush dcache, and maint flush register-cache"

// mostMapLines bounds how much of a list of mappings a debugger shows.
const mostMapLines = 1000

const mapsUsage = "maps [--user] [--kernel] [--all] [PID|NAME|HEX]"

func (s *session) monitorMaps(ctx context.Context, w io.Writer, words []string) error {
	o := MapsOptions{Range: mmu.Lower, Most: mostMapLines}
	who := ""
	for _, word := range words {
		switch {
		case word == "--user":
			o.Range = mmu.Lower
		case word == "--kernel" || word == "kernel":
			o.Range = mmu.Upper
		case word == "--all":
			o.All = true
		case strings.HasPrefix(word, "-"):
			return fmt.Errorf("monitor maps: unknown option %s; it is: %s", word, mapsUsage)
		case who != "":
			return fmt.Errorf("monitor maps takes one PID, NAME or CR3, and %q is left over; it is: %s", word, mapsUsage)
		default:
			who = word
		}
	}
	space, err := s.look(ctx)
	if who != "" {
		space, err = s.m.SpaceNamed(ctx, who)
	}
	if err != nil {
		return err
	}
	var notes bytes.Buffer // they belong behind the list
	err = s.m.WriteMaps(ctx, w, &notes, space, &o)
	w.Write(notes.Bytes())
	return err
}
