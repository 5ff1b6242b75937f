package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"physgdb/bridge"
)

// command is one word of `monitor`.
type command struct {
	name, args, help string
	run              func(s *session, ctx context.Context, w io.Writer, args []string) error
}

// commands are what `monitor` knows, in the order of its help.
func commands() []command {
	return []command{
		{"info", "", "what this machine is, what it died of, where its kernel lies", (*session).monitorInfo},
		{"cr3", "[HEX|NAME|kernel|panic]",
			"show or select the address space: of a program that said hello, of the task that panicked",
			(*session).monitorCR3},
		{"vtop", "ADDRESS...", "explain how a virtual address is translated, entry by entry", (*session).monitorVtop},
		{"stats", "", "what this session has cost the bridge", func(s *session, _ context.Context, w io.Writer, _ []string) error {
			return s.m.WriteStats(w)
		}},
		{"help", "", "this list", (*session).monitorHelp},
	}
}

// Monitor answers `monitor LINE`.
func (s *session) Monitor(ctx context.Context, w io.Writer, line string) error {
	words := strings.Fields(line)
	if len(words) == 0 {
		words = []string{"help"}
	}
	for _, c := range commands() {
		if c.name != words[0] {
			continue
		}
		if c.args == "" && len(words) > 1 {
			return fmt.Errorf("monitor %s takes no arguments", c.name)
		}
		return c.run(s, ctx, w, words[1:])
	}
	return fmt.Errorf("unknown command %q; try: monitor help", words[0])
}

func (s *session) monitorHelp(_ context.Context, w io.Writer, _ []string) error {
	for _, c := range commands() {
		fmt.Fprintf(w, "monitor %-32s %s\n", strings.TrimSpace(c.name+" "+c.args), c.help)
	}
	return nil
}

func (s *session) monitorInfo(ctx context.Context, w io.Writer, _ []string) error {
	if s.distrust != nil {
		fmt.Fprintf(w, "Memory is not shown: %v.\n", s.distrust)
	}
	return s.m.writeInfo(ctx, w, s.space)
}

func (s *session) monitorVtop(ctx context.Context, w io.Writer, args []string) error {
	if len(args) == 0 {
		return errors.New("monitor vtop ADDRESS...: an address (0x...) or a symbol is missing")
	}
	vas, err := s.m.Addresses(args)
	if err != nil {
		return err
	}
	for _, va := range vas {
		if err := s.m.WriteVtop(ctx, w, s.space, va); err != nil {
			fmt.Fprintln(w, " ", err)
		}
	}
	return nil
}

func (s *session) monitorCR3(ctx context.Context, w io.Writer, args []string) error {
	switch len(args) {
	case 0:
		fmt.Fprintf(w, "cr3 %#x\n", s.space.Root().CR3)
		fmt.Fprintf(w, "kernel %#x\n", s.m.Kernel.Root.CR3)
		if s.m.Notice != nil {
			fmt.Fprintf(w, "panic %#x\n", uint64(s.m.Notice.CR3))
		}
		for _, name := range slices.Sorted(maps.Keys(s.m.Hellos)) {
			fmt.Fprintf(w, "%s %#x\n", name, uint64(s.m.Hellos[name].CR3))
		}
		return nil
	case 1:
	default:
		return errors.New("monitor cr3 takes one argument: a hexadecimal CR3, the name of a program, kernel, or panic")
	}
	cr3, err := s.namedCR3(args[0])
	if err != nil {
		return err
	}
	if err := s.setCR3(ctx, cr3); err != nil {
		return err
	}
	fmt.Fprintf(w, "cr3 %#x; now have gdb drop what it remembers: maint flush dcache\n", s.space.Root().CR3)
	return nil
}

// namedCR3 finds the CR3 that a user means by a word.
func (s *session) namedCR3(word string) (uint64, error) {
	switch {
	case word == "kernel":
		return s.m.Kernel.Root.CR3, nil
	case word == "panic" && s.m.Notice != nil:
		return uint64(s.m.Notice.CR3), nil
	}
	n, err := s.m.hello(strings.TrimPrefix(word, helloPrefix))
	if err == nil {
		return uint64(n.CR3), nil
	}
	v, numErr := bridge.ParseAddr(word)
	if numErr != nil {
		return 0, fmt.Errorf("%q is neither a hexadecimal CR3 nor kernel, and %w", word, err)
	}
	return uint64(v), nil
}
