package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// completion returns what writes the script for a shell, or nil if there is none.
func completion(shell string) func(io.Writer) error {
	switch shell {
	case "bash":
		return bashCompletion
	case "fish":
		return fishCompletion
	case "zsh":
		return zshCompletion
	}
	return nil
}

func completionCommand() Command {
	return Command{
		Name: "completion", Args: "bash|zsh|fish", In: Shell, Help: "print a script that completes physgdb's words in a shell",
		About: `The script completes commands, options and their values.

Examples:
  . <(physgdb completion bash)
  physgdb completion zsh > "${fpath[1]}/_physgdb"
  physgdb completion fish > ~/.config/fish/completions/physgdb.fish`,
		prepare: func(r *Request) (*Query, error) {
			if len(r.Args) != 1 || completion(r.Args[0]) == nil {
				return nil, errors.New("want one of bash, zsh and fish")
			}
			return &Query{Run: func(_ context.Context, env *Env) error { return completion(r.Args[0])(env.Out) }}, nil
		},
	}
}

// shellCommands returns the commands of the shell.
func shellCommands() []Command {
	return slices.DeleteFunc(All(), func(c Command) bool { return c.In&Shell == 0 })
}

// fixedWord matches the arguments in Command.Args that are words to be typed as they are.
var fixedWord = regexp.MustCompile(`\b[a-z]+\b`)

// words returns the words that a command takes as they are.
func (c *Command) words() []string { return fixedWord.FindAllString(c.Args, -1) }

// bashCompletion writes a script for bash(1): a function that is called with the words of the
// command line in COMP_WORDS.
func bashCompletion(w io.Writer) error {
	p := &printer{w: w}
	p.f("# bash completion for physgdb\n_physgdb() {\n")
	p.f("  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\n")
	p.f("  if [ \"$COMP_CWORD\" = 1 ]; then\n    COMPREPLY=($(compgen -W '%s --help --version' -- \"$cur\"))\n    return\n  fi\n",
		strings.Join(names(shellCommands()), " "))
	p.f("  case ${COMP_WORDS[1]} in\n")
	for _, c := range shellCommands() {
		options := append(c.AllOptions(), Option{Name: "help"})
		p.f("  %s)\n    case $prev in\n", c.Name)
		for _, o := range options {
			if o.Kind == Switch {
				continue
			}
			p.f("    %s)\n      COMPREPLY=($(compgen %s-W '%s' -- \"$cur\"))\n      return ;;\n", Dashed(o.Name), map[bool]string{true: "-f "}[o.Files],
				strings.Join(o.Choices, " "))
		}
		p.f("    esac\n    words='%s'\n    [[ $cur == -* ]] && words='%s' ;;\n", strings.Join(c.words(), " "), strings.Join(dashes(options), " "))
	}
	p.f("  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n")
	p.f("  [[ $cur == -* ]] || COMPREPLY+=($(compgen -f -- \"$cur\"))\n}\ncomplete -o filenames -F _physgdb physgdb\n")
	return p.err
}

// zshCompletion writes a script for zsh's completion system (zshcompsys(1)).
func zshCompletion(w io.Writer) error {
	p := &printer{w: w}
	p.f("#compdef physgdb\n# zsh completion for physgdb\n_physgdb() {\n  if (( CURRENT == 2 )); then\n    local -a commands=(\n")
	for _, c := range shellCommands() {
		p.f("      %s\n", quote(c.Name+":"+c.Help))
	}
	p.f("    )\n    _describe command commands\n    return\n  fi\n  local command=$words[2]\n  shift words\n  (( CURRENT-- ))\n")
	p.f("  case $command in\n")
	for _, c := range shellCommands() {
		p.f("  %s)\n    _arguments", c.Name)
		for _, o := range c.AllOptions() {
			p.f(" \\\n      %s", quote(zshOption(&o)))
		}
		if words := c.words(); len(words) > 0 {
			p.f(" \\\n      %s", quote("*:argument:{_files; compadd "+strings.Join(words, " ")+"}"))
		} else {
			p.f(" \\\n      '*:file:_files'")
		}
		p.f(" ;;\n")
	}
	p.f("  esac\n}\n_physgdb \"$@\"\n")
	return p.err
}

// zshOption returns an option as an argument of _arguments.
func zshOption(o *Option) string {
	escape := strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`, "`", "")
	spec := Dashed(o.Name)
	if o.Kind == List {
		spec = "*" + spec
	}
	spec += "[" + escape.Replace(o.Usage) + "]"
	if o.Kind == Switch {
		return spec
	}
	action := " "
	choices := strings.Join(o.Choices, " ")
	switch {
	case o.Files && choices != "":
		action = "{_files; compadd " + choices + "}"
	case o.Files:
		action = "_files"
	case choices != "":
		action = "(" + choices + ")"
	}
	return spec + ":" + o.Value + ":" + action
}

// fishCompletion writes a script for fish(1).
func fishCompletion(w io.Writer) error {
	p := &printer{w: w}
	p.f("# fish completion for physgdb\n")
	for _, c := range shellCommands() {
		p.f("complete -c physgdb -n __fish_use_subcommand -f -a %s -d %s\n", c.Name, fishQuote(c.Help))
	}
	for _, c := range shellCommands() {
		in := fmt.Sprintf("complete -c physgdb -n '__fish_seen_subcommand_from %s'", c.Name)
		if words := c.words(); len(words) > 0 {
			p.f("%s -a %s\n", in, fishQuote(strings.Join(words, " ")))
		}
		for _, o := range c.AllOptions() {
			p.f("%s %s -d %s\n", in, fishOption(&o), fishQuote(strings.ReplaceAll(o.Usage, "`", "")))
		}
	}
	return p.err
}

// fishOption returns the arguments of fish's complete for an option.
func fishOption(o *Option) string {
	flag := "-l " + o.Name
	if len(o.Name) == 1 {
		flag = "-s " + o.Name
	}
	if o.Kind == Switch {
		return flag
	}
	if o.Files {
		flag += " -r -F"
	} else {
		flag += " -x"
	}
	if len(o.Choices) > 0 {
		flag += " -a " + fishQuote(strings.Join(o.Choices, " "))
	}
	return flag
}

// quote quotes a word for bash and zsh.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// fishQuote quotes a word for fish, where \ escapes within quotes.
func fishQuote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
}

func names(commands []Command) []string {
	var list []string
	for _, c := range commands {
		list = append(list, c.Name)
	}
	return list
}

func dashes(options []Option) []string {
	var list []string
	for _, o := range options {
		list = append(list, Dashed(o.Name))
	}
	return list
}

// printer writes formatted text until there is an error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}
