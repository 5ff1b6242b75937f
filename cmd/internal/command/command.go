package host

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Command is something that a dead machine can be asked with the same words in both places: `physgdb NAME SOURCE ARGS`
// on the command line, `monitor NAME ARGS` in a debugger.
type Command struct {
	Name    string
	Aliases []string // what those call it who know gdb's own scripts for Linux; in a debugger only
	Args    string   // as the help shows them; empty if it takes none
	Help    string   // one line
	About   string   // what else there is to know, and examples, for the command line
	Options []Option
	// prepare makes sense of the words, before there is a machine to ask.
	prepare func(r *request) (Answer, error)
}

// Answer asks a machine and writes what it finds out. Where that is not all, what was found stands on w, and the error
// says what is missing.
type Answer func(ctx context.Context, m *Machine, w io.Writer) error

// Option is an option of a [Command].
type Option struct {
	Name  string
	Value string // what it takes, such as N; empty if it is a switch
	Usage string
}

// Commands are what a dead machine can be asked.
func Commands() []Command {
	return []Command{btCommand(), psCommand(), dmesgCommand(), modulesCommand(), percpuCommand(), cr3Command(), findCommand()}
}

// Prepare takes the words of a user: arguments, and the options that were given, a switch's value being "true". The
// error is a [*UsageError].
func (c *Command) Prepare(args []string, options map[string]string) (Answer, error) {
	if c.Args == "" && len(args) > 0 {
		return nil, usagef("%s takes no arguments", c.Name)
	}
	answer, err := c.prepare(&request{args: args, options: options})
	if err != nil {
		return nil, usagef("%s: %w", c.Name, err)
	}
	return answer, nil
}

// parse takes a line of words apart. Options may stand anywhere; behind -- there are none.
func (c *Command) parse(words []string) (Answer, error) {
	var args []string
	options := map[string]string{}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if word == "--" {
			args = append(args, words...)
			break
		}
		if len(word) < 2 || word[0] != '-' {
			args = append(args, word)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
		o := c.option(name)
		switch {
		case o == nil:
			return nil, usagef("%s: unknown option %s; it is: %s", c.Name, word, c.usage())
		case o.Value == "" && hasValue:
			return nil, usagef("%s: %s takes no value; it is: %s", c.Name, dashed(name), c.usage())
		case o.Value == "":
			value = "true"
		case !hasValue && len(words) == 0:
			return nil, usagef("%s: %s needs a value; it is: %s", c.Name, word, c.usage())
		case !hasValue:
			value, words = words[0], words[1:]
		}
		options[name] = value
	}
	return c.Prepare(args, options)
}

func (c *Command) option(name string) *Option {
	i := slices.IndexFunc(c.Options, func(o Option) bool { return o.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Options[i]
}

// usage writes a command as its help shows it: "ps [--json] [PID|NAME]...".
func (c *Command) usage() string {
	words := []string{c.Name}
	for _, o := range c.Options {
		words = append(words, "["+strings.TrimSpace(dashed(o.Name)+" "+o.Value)+"]")
	}
	if c.Args != "" {
		words = append(words, c.Args)
	}
	return strings.Join(words, " ")
}

// dashed writes an option as its help does.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// request is the words of a user.
type request struct {
	args    []string
	options map[string]string
}

// on reports whether a switch was given.
func (r *request) on(name string) bool { return r.options[name] == "true" }

// number returns the value of an option that counts something, or 0 if it was not given.
func (r *request) number(name string) (int, error) {
	text, given := r.options[name]
	if !given {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s %s: want how many, such as 100", dashed(name), text)
	}
	return int(n), nil
}

// jsonOption is what every command has that prints a table.
func jsonOption(keys string) Option {
	return Option{Name: "json", Usage: "one JSON object a line: " + keys}
}

// needSymbols tells whether a machine's kernel can be asked at all.
func (m *Machine) needSymbols(command string) error {
	if m.Kernel.Symbols == nil {
		return fmt.Errorf("%s: the kernel's symbols are not known: %s", command, m.whyNoSymbols())
	}
	return nil
}
