package command

import (
	"io"
	"strings"
)

// Man writes the manual page of physgdb, in the form of man(7).
func Man(w io.Writer) error {
	p := &printer{w: w}
	p.f(".TH PHYSGDB 1\n.SH NAME\nphysgdb \\- a gdbserver for machines that can no longer run one\n")
	p.f(".SH SYNOPSIS\n.B physgdb\n.I COMMAND\n[\\fIOPTION\\fR]... [\\fISOURCE\\fR] [\\fIARGUMENT\\fR]...\n")
	p.f(".SH DESCRIPTION\n%s\n", roff(sourceText))
	p.f(".SH COMMANDS\n")
	for _, c := range shellCommands() {
		p.f(".SS %s\n", roff(strings.TrimSpace("physgdb "+c.Name+" "+c.ShellArgs())))
		p.f("%s.\n", roff(upperFirst(c.Help)))
		manAbout(p, c.About)
		manOptions(p, c.Options)
	}
	p.f(".SH COMMON OPTIONS\nOptions of the commands that take a machine as their SOURCE. Those that read memory only take the last four.\n")
	manOptions(p, machineOptions())
	p.f(".SH COMMANDS IN A DEBUGGER\nIn gdb and lldb these follow the word \\fBmonitor\\fR.\n")
	for _, c := range All() {
		if c.In&Monitor == 0 {
			continue
		}
		help := c.MonitorHelp
		if help == "" {
			help = c.Help
		}
		p.f(".TP\n.B %s\n%s\n", roff("monitor "+c.MonitorUsage()), roff(upperFirst(help)+"."))
	}
	p.f(".SH EXIT STATUS\n0 if all is done, 1 if something could not be done or is incomplete, 2 for wrong usage.\n")
	p.f(".SH SEE ALSO\n.BR gdb (1),\n.BR lldb (1),\n.BR crash (8)\n")
	return p.err
}

// sourceText describes SOURCE.
const sourceText = `physgdb reads the physical memory of a dead Linux machine, explains it, and serves it to debuggers. SOURCE is where
the memory comes from: a file with its RAM (a path, or file:PATH), or a URL such as
nettlp://ADDRESS?local=ADDRESS&requester=BUS:DEV. Options may be before or after SOURCE. With --json, results are JSON objects.`

// manAbout writes the description of a command: paragraphs, and indented lines as they are.
func manAbout(p *printer, about string) {
	literal := false
	for line := range strings.Lines(about) {
		line = strings.TrimSuffix(line, "\n")
		switch indented := strings.HasPrefix(line, "  "); {
		case line == "" && !literal:
			p.f(".PP\n")
		case indented && !literal:
			p.f(".PP\n.nf\n%s\n", roff(line))
			literal = true
		case literal && line != "" && !indented:
			p.f(".fi\n.PP\n%s\n", roff(line))
			literal = false
		default:
			p.f("%s\n", roff(line))
		}
	}
	if literal {
		p.f(".fi\n")
	}
}

func manOptions(p *printer, options []Option) {
	for _, o := range options {
		p.f(".TP\n.BR %s", roff(Dashed(o.Name)))
		if o.Value != "" {
			p.f(" \" \" \\fI%s\\fR", roff(o.Value))
		}
		text := upperFirst(strings.ReplaceAll(o.Usage, "`", ""))
		if o.Default != "" {
			text += " (default: " + o.Default + ")"
		}
		p.f("\n%s.\n", roff(text))
	}
}

// roff escapes text for man(7): a line must not begin with a control character, and hyphens are
// minus signs.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", `\[u2026]`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

func upperFirst(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
