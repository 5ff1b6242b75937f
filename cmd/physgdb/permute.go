package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// permute moves the options of a command before its other arguments, so that they may be on either
// side of SOURCE: the cli package silently takes what follows the first argument for arguments,
// too. After "--" nothing is an option. A command that passes these words on finds the "--" among
// its arguments.
//
// What the cli package would let pass is an error: an option without its value takes the next word,
// whatever it is, and one that is given twice has the last value.
func permute(app *cli.App, args []string) ([]string, error) {
	args = helpFirst(args)
	if len(args) < 2 {
		return args, nil
	}
	cmd := app.Command(args[1])
	if cmd == nil {
		return args, nil
	}
	options, rest := slices.Clone(args[:2]), []string{"--"}
	seen := map[string]bool{}
	for i := 2; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			if passesOn(cmd) {
				rest = append(rest, arg)
			}
			rest = append(rest, args[i+1:]...)
			break
		}
		if !isOption(arg) {
			rest = append(rest, arg)
			continue
		}
		options = append(options, arg)
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		flag := lookUp(cmd, name)
		switch {
		case isHelp(name):
			return append(args[:2:2], arg), nil // alone: the cli package takes an operand for a topic
		case flag == nil:
			return nil, usagef("%s: unknown option %s; see physgdb %[1]s --help", cmd.Name, dashed(name))
		case seen[name] && !mayRepeat(flag):
			return nil, usagef("%s: %s is given twice", cmd.Name, dashed(name))
		case wantsValue(flag) && !hasValue:
			if i++; i == len(args) || strings.HasPrefix(args[i], "--") {
				return nil, usagef("%s: %s needs a value; see physgdb %[1]s --help", cmd.Name, dashed(name))
			}
			options = append(options, args[i])
		}
		seen[name] = true
	}
	return append(options, rest...), nil
}

// helpFirst makes `physgdb COMMAND --help` of `physgdb help COMMAND`.
func helpFirst(args []string) []string {
	if len(args) < 2 || args[1] != "help" {
		return args
	}
	return append(append(slices.Clone(args[:1]), args[2:]...), "--help")
}

// isOption reports whether a word is an option, and not an operand, which may be "-" or a negative
// number.
func isOption(arg string) bool {
	return len(arg) > 1 && arg[0] == '-' && (arg[1] < '0' || arg[1] > '9')
}

// dashed writes an option as its help does.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// passesOn reports whether words after "--" are for another program, and not operands.
func passesOn(cmd *cli.Command) bool { return strings.Contains(cmd.ArgsUsage, "[-- ") }

func isHelp(name string) bool { return slices.Contains(cli.HelpFlag.Names(), name) }

// lookUp finds an option of a command, or returns nil.
func lookUp(cmd *cli.Command, name string) cli.Flag {
	for _, f := range cmd.Flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

// wantsValue reports whether a value belongs to an option.
func wantsValue(f cli.Flag) bool {
	_, isBool := f.(*cli.BoolFlag)
	return !isBool
}

// mayRepeat reports whether an option may be given more than once, each time with one more value.
func mayRepeat(f cli.Flag) bool {
	_, isList := f.(*cli.StringSliceFlag)
	return isList
}
