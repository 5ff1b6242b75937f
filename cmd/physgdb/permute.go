package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// permute moves the options of a command before its other arguments, so that they may stand on either side of SOURCE:
// the cli package silently takes what follows the first argument for arguments, too. Behind "--" nothing is an option.
func permute(app *cli.App, args []string) []string {
	if len(args) < 2 {
		return args
	}
	cmd := app.Command(args[1])
	if cmd == nil {
		return args
	}
	options, rest := slices.Clone(args[:2]), []string{"--"}
	for i := 2; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			rest = append(rest, args[i+1:]...)
			i = len(args)
		case len(arg) < 2 || arg[0] != '-':
			rest = append(rest, arg)
		default:
			options = append(options, arg)
			if takesValue(cmd, arg) && i+1 < len(args) {
				i++
				options = append(options, args[i])
			}
		}
	}
	return append(options, rest...)
}

// takesValue reports whether the word after option arg is its value.
func takesValue(cmd *cli.Command, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range cmd.Flags {
		if slices.Contains(f.Names(), name) {
			_, isBool := f.(*cli.BoolFlag)
			return !isBool
		}
	}
	return false
}
