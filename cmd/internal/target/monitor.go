package target

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"physgdb/cmd/internal/command"
	"physgdb/cmd/internal/progress"
	"physgdb/cmd/internal/query"
	"physgdb/internal/plain"
)

// Monitor answers `monitor LINE`: a command of package command, or what belongs to this session.
func (v *view) Monitor(ctx context.Context, w io.Writer, line string) error {
	words := query.SplitLine(line)
	if len(words) == 0 {
		words = []string{"help"}
	}
	c := command.Find(words[0], command.Monitor)
	if c == nil {
		return fmt.Errorf("unknown command %q; try: monitor help", words[0])
	}
	switch c.Name {
	case "help":
		return monitorHelp(w, words[1:])
	case "phys":
		return v.monitorPhys(w, words[1:])
	case "files":
		return monitorFiles(w, words[1:])
	case "info":
		if len(words) == 2 && words[1] == "registers" {
			return v.monitorRegisters(ctx, w)
		}
		v.monitorState(w)
	case "cr3":
		if handled, err := v.monitorCR3(ctx, w, words[1:]); handled {
			return err
		}
	}
	return v.runCommand(ctx, w, c, words[1:])
}

// runCommand runs a command in the address space that the client looks at.
func (v *view) runCommand(ctx context.Context, w io.Writer, c *command.Command, words []string) error {
	q, err := c.Parse(words)
	if err != nil {
		return fmt.Errorf("monitor %w", err)
	}
	if c.ReadsMemory && v.memoryBlocked != nil {
		return v.memoryBlocked
	}
	var notes bytes.Buffer // they follow the result
	env := &command.Env{
		Machine: v.m, Memory: v.m.Memory, Scope: v.scope,
		Out: bufio.NewWriter(w), Notes: &notes, Console: progress.Console{Writer: w}, Monitor: true,
	}
	err = q.Run(ctx, env)
	w.Write(notes.Bytes())
	return err
}

// scope returns the address space that the client looks at.
func (v *view) scope(ctx context.Context) (query.Scope, error) {
	space, err := v.current(ctx)
	return query.Scope{Space: space, Chosen: v.space != nil}, err
}

// monitorHelp lists the commands, or one of them.
func monitorHelp(w io.Writer, words []string) error {
	shown := 0
	for _, c := range command.All() {
		if c.In&command.Monitor == 0 || len(words) > 0 && c.Name != words[0] && !slices.Contains(c.Aliases, words[0]) {
			continue
		}
		help := cmp.Or(c.MonitorHelp, c.Help)
		if len(c.Aliases) > 0 {
			help += " (also " + strings.Join(c.Aliases, ", ") + ")"
		}
		fmt.Fprintf(w, "monitor %s\n    %s\n", c.MonitorUsage(), help)
		shown++
	}
	if shown == 0 {
		return fmt.Errorf("unknown command %q; monitor help lists all", words[0])
	}
	return nil
}

// monitorState writes what of this session changes the meaning of what is shown.
func (v *view) monitorState(w io.Writer) {
	if v.memoryBlocked != nil {
		fmt.Fprintf(w, "Memory is not shown: %v.\n", v.memoryBlocked)
	}
	if v.physical {
		fmt.Fprintln(w, physicalIsOn)
	}
}

// monitorCR3 shows which address space is selected, before the command lists the roots, or selects
// another one.
func (v *view) monitorCR3(ctx context.Context, w io.Writer, words []string) (handled bool, err error) {
	switch {
	case len(words) > 1:
		return true, errors.New("monitor cr3 takes one argument: a hexadecimal CR3, a pid, a name, kernel, panic, or threads")
	case len(words) == 0:
		space, err := v.current(ctx)
		if err != nil {
			return true, err
		}
		whose := "of the thread"
		if v.space != nil {
			whose = "selected for all threads; monitor cr3 threads gives each its own again"
		}
		fmt.Fprintf(w, "cr3 %#x (%s)\n", space.Root().CR3, whose)
		return false, nil
	case strings.HasPrefix(words[0], "-"):
		return false, nil
	case words[0] == "threads":
		v.space = nil
		_, err := fmt.Fprintf(w, "each thread has its own address space; %s\n", flushAdvice)
		return true, err
	}
	return true, v.selectRoot(ctx, w, words[0])
}

// selectRoot selects an address space for all threads.
func (v *view) selectRoot(ctx context.Context, w io.Writer, word string) error {
	r, err := query.RootNamed(ctx, v.m, word)
	if err != nil {
		return err
	}
	if err := v.setCR3(ctx, uint64(r.CR3)); err != nil {
		return err
	}
	what := ""
	if r.Comm != "" {
		what = fmt.Sprintf(" of %s, pid %d", plain.Line(r.Comm), r.PID)
	}
	_, err = fmt.Fprintf(w, "cr3 %#x%s, for all threads until monitor cr3 threads; %s\n", v.space.Root().CR3, what, flushAdvice)
	return err
}

// flushAdvice is what a user must do where memory and registers look different from now on.
const flushAdvice = "now clear gdb's caches: maint flush dcache, and maint flush register-cache"
