// Package command declares what physgdb can do, each command once: its name, arguments, options,
// help, query, and where it can be used. The shell commands, the debugger's `monitor` commands, the
// help texts, shell completion, the man page and the tables of gdb's `info os` follow from these
// declarations.
package command

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"physgdb/cmd/internal/machine"
	"physgdb/cmd/internal/query"
)

// Places are where a command can be used.
type Places uint8

// The places where a command can be used.
const (
	Shell   Places = 1 << iota // physgdb NAME SOURCE ARGS
	Monitor                    // monitor NAME ARGS, in a debugger
)

// Needs is the part of a source that a command needs.
type Needs uint8

// What commands need.
const (
	Nothing Needs = iota // no SOURCE, no log
	Logs                 // no SOURCE, but the options of the log
	Memory               // physical memory
	Machine              // a machine whose kernel was found
	Symbols              // and whose symbols are known
)

// Command is one of physgdb's commands.
type Command struct {
	Name    string
	Aliases []string // in a debugger only: the names in gdb's own scripts for Linux
	Args    string   // as the help shows them, without SOURCE; empty if there are none
	Help    string   // one line
	About   string   // for the shell: details and examples
	Options []Option // without those that follow from Needs
	In      Places
	Needs   Needs

	// MonitorArgs and MonitorHelp are Args and Help in a debugger, if they differ.
	MonitorArgs, MonitorHelp string
	// ReadsMemory is set if the command shows memory at addresses that the user gives: it is
	// refused in a debugger whose symbols do not fit.
	ReadsMemory bool
	// Prints has a value of each type that the command prints as JSON.
	Prints []any
	// Tables are what gdb shows by `info os`.
	Tables []Table

	// prepare parses the words before there is a machine. It is nil for a command whose action
	// belongs to its place: to the shell (serve, gdb, notify, adapter), or to the session of a
	// debugger.
	prepare func(r *Request) (*Query, error)
}

// Query is a command with its arguments.
type Query struct {
	// Run executes the query and writes the result to env.Out. If the result is incomplete, Run
	// writes it and returns an error that describes the missing part.
	Run func(ctx context.Context, env *Env) error
	// Adjust checks and changes the options of the machine, before it is opened. It may be nil.
	Adjust func(o *machine.Options) error
	// MemoryOnly is set if Run needs env.Memory only, and not env.Machine.
	MemoryOnly bool
}

// Env is where a command runs.
type Env struct {
	Machine *machine.Machine
	Memory  *machine.Memory // of the machine
	// Scope returns the address space that the user looks at.
	Scope   func(context.Context) (query.Scope, error)
	Out     *bufio.Writer
	Notes   io.Writer // for what belongs to no result, such as costs
	Console io.Writer // for progress; nil for none
	Monitor bool      // in a debugger
}

// NewEnv returns the environment of a command that is started from the shell. m may be nil.
func NewEnv(m *machine.Machine, out, notes io.Writer) *Env {
	env := &Env{Machine: m, Out: bufio.NewWriter(out), Notes: notes, Console: notes}
	if m != nil {
		env.Memory = m.Memory
		env.Scope = func(context.Context) (query.Scope, error) { return query.MachineScope(m), nil }
	}
	return env
}

// Prepare parses the words of a user: arguments, and the options that were given; the value of a
// switch is "true". The error is a [*machine.UsageError].
func (c *Command) Prepare(r *Request) (*Query, error) {
	if c.Args == "" && (!r.Monitor || c.MonitorArgs == "") && len(r.Args) > 0 {
		return nil, machine.Usagef("%s takes no arguments", c.Name)
	}
	q, err := c.prepare(r)
	if err != nil {
		return nil, machine.Usagef("%s: %w", c.Name, err)
	}
	run := q.Run
	q.Run = func(ctx context.Context, env *Env) error {
		if c.Needs == Symbols {
			if err := env.Machine.NeedSymbols(); err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
		}
		err := run(ctx, env)
		if err != nil && c.Needs == Symbols {
			err = fmt.Errorf("%s: %w", c.Name, err)
		}
		return cmp.Or(env.Out.Flush(), err)
	}
	return q, nil
}

// HasQuery reports whether Prepare can be called.
func (c *Command) HasQuery() bool { return c.prepare != nil }

// Parse prepares a line of words as a debugger's user types them. Options may be anywhere; after --
// there are none.
func (c *Command) Parse(words []string) (*Query, error) {
	r := &Request{Options: map[string]string{}, Monitor: true}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if word == "--" {
			r.Args = append(r.Args, words...)
			break
		}
		if len(word) < 2 || word[0] != '-' {
			r.Args = append(r.Args, word)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
		o := c.option(name)
		switch {
		case o == nil:
			return nil, machine.Usagef("%s: unknown option %s; it is: %s", c.Name, word, c.MonitorUsage())
		case o.Kind == Switch && hasValue:
			return nil, machine.Usagef("%s: %s takes no value; it is: %s", c.Name, Dashed(name), c.MonitorUsage())
		case o.Kind == Switch:
			value = "true"
		case !hasValue && len(words) == 0:
			return nil, machine.Usagef("%s: %s needs a value; it is: %s", c.Name, word, c.MonitorUsage())
		case !hasValue:
			value, words = words[0], words[1:]
		}
		r.Options[name] = value
	}
	return c.Prepare(r)
}

func (c *Command) option(name string) *Option {
	i := slices.IndexFunc(c.Options, func(o Option) bool { return o.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Options[i]
}

// MonitorUsage returns a command as the help of `monitor` shows it: "ps [--json] [PID|NAME]...".
func (c *Command) MonitorUsage() string {
	words := []string{c.Name}
	for _, o := range c.Options {
		words = append(words, "["+strings.TrimSpace(Dashed(o.Name)+" "+o.Value)+"]")
	}
	if args := cmp.Or(c.MonitorArgs, c.Args); args != "" {
		words = append(words, args)
	}
	return strings.Join(words, " ")
}

// ShellArgs returns the arguments of a command as its help in the shell shows them.
func (c *Command) ShellArgs() string {
	if c.Needs < Memory || strings.HasPrefix(c.Args, "[SOURCE]") {
		return c.Args
	}
	return strings.TrimSpace("SOURCE " + c.Args)
}

// Dashed returns an option as the help shows it: -n, --json.
func Dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// Request is the words of a user.
type Request struct {
	Args    []string
	Options map[string]string
	Monitor bool // they were typed in a debugger
}

// on reports whether a switch was given.
func (r *Request) on(name string) bool { return r.Options[name] == "true" }

// number returns the value of an option that counts something, or 0 if it was not given.
func (r *Request) number(name string) (int, error) {
	text, given := r.Options[name]
	if !given {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s %s: want how many, such as 100", Dashed(name), text)
	}
	return int(n), nil
}

// All returns the commands in the order of the help.
func All() []Command {
	return []Command{
		serveCommand(), gdbCommand(), infoCommand(), reportCommand(), btCommand(), psCommand(), dmesgCommand(), modulesCommand(),
		percpuCommand(), cr3Command(), findCommand(), symbolsCommand(), mapsCommand(), vtopCommand(), readCommand(), physCommand(),
		filesCommand(), statsCommand(), helpCommand(), notifyCommand(), adapterCommand(), cacheCommand(), completionCommand(),
		versionCommand(),
	}
}

// Find returns the command that a user names in a place, or nil.
func Find(name string, in Places) *Command {
	for _, c := range All() {
		if c.In&in != 0 && (c.Name == name || in == Monitor && slices.Contains(c.Aliases, name)) {
			return &c
		}
	}
	return nil
}
