package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

func TestOptionsMayBeAnywhere(t *testing.T) {
	h := newHost(t)
	want := physgdb(t, h.words("read --cr3 CR3 --vmlinux VMLINUX RAM linux_banner 16")...)
	if want.status != exitDone || !strings.Contains(want.out, "|Linux version 6.|") {
		t.Fatalf("%+v", want)
	}
	for _, line := range []string{
		"read RAM linux_banner 16 --cr3 CR3 --vmlinux VMLINUX",
		"read --cr3=CR3 RAM --vmlinux=VMLINUX linux_banner 16",
		"read RAM --cr3 CR3 linux_banner --vmlinux VMLINUX 16",
		"read -cr3 CR3 -vmlinux=VMLINUX RAM linux_banner 16",
		"read --cr3 CR3 --vmlinux VMLINUX -- RAM linux_banner 16",
		"read --phys=false RAM linux_banner 16 --cr3 CR3 --vmlinux VMLINUX --log-json",
		"read RAM linux_banner 16 --cr3 CR3 --vmlinux VMLINUX --timeout 5s --log-level error --",
	} {
		if diff := cmp.Diff(want, physgdb(t, h.words(line)...), cmp.AllowUnexported(result{})); diff != "" {
			t.Errorf("%s (-first +this):\n%s", line, diff)
		}
	}
}

// TestEveryOptionMoves checks all options of all commands in all forms by where they arrive in the
// cli package.
func TestEveryOptionMoves(t *testing.T) {
	app := newApp(io.Discard, io.Discard)
	for _, cmd := range app.Commands {
		for _, f := range cmd.Flags {
			option := []string{dashed(f.Names()[0])}
			if _, isBool := f.(*cli.BoolFlag); !isBool {
				option = append(option, "7")
			}
			want := slices.Concat([]string{"physgdb", cmd.Name}, option, []string{"--", "a", "b"})
			forms := map[string][]string{
				"before": slices.Concat(option, []string{"a", "b"}),
				"amid":   slices.Concat([]string{"a"}, option, []string{"b"}),
				"after":  slices.Concat([]string{"a", "b"}, option),
			}
			for where, form := range forms {
				got, err := permute(app, append([]string{"physgdb", cmd.Name}, form...))
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					t.Errorf("%s %s, %s: %v\n%s", cmd.Name, option, where, err, diff)
				}
			}
		}
	}
}

func TestNoOptionsAfterTwoDashes(t *testing.T) {
	h := newHost(t)
	t.Chdir(h.dir)
	must(t, os.Rename(h.ram, "--phys"))
	physgdb(t, "info", "--symbols", "none", "--cr3", h.cr3, "--", "--phys").want(t, exitDone, "")
	physgdb(t, "info", "--symbols", "none", "--cr3", h.cr3, "--", "x", "--phys").want(t, exitUsage, "info takes no arguments")
}

// TestWordsAfterTwoDashesGoToTheDebugger: also those that look like options, and further dashes.
func TestWordsAfterTwoDashesGoToTheDebugger(t *testing.T) {
	app := newApp(io.Discard, io.Discard)
	got, err := permute(app, strings.Fields("physgdb gdb RAM --lldb -- -batch --cr3 -- x"))
	want := strings.Fields("physgdb gdb --lldb -- RAM -- -batch --cr3 -- x")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestWrongUsage(t *testing.T) {
	h := newHost(t)
	for _, tc := range []struct{ name, line, want string }{
		{"no command", "", "physgdb --help lists them"},
		{"an unknown command", "debug RAM", `unknown command "debug"; physgdb --help lists them`},
		{"help for an unknown command", "help debug", `unknown command "debug"`},
		{"an option before the command", "--cr3 CR3 info RAM", "options follow the command"},
		{"an unknown option", "info RAM --bogus", "unknown option --bogus; see physgdb info --help"},
		{"an unknown option with a value", "info --bogus=3 RAM", "unknown option --bogus; see"},
		{"an option of another command", "info RAM --user", "unknown option --user"},
		{"an option without its value", "info RAM --cr3", "--cr3 needs a value"},
		{"an option for a value", "info RAM --cr3 --log-json", "--cr3 needs a value"},
		{"two dashes for a value", "info --cr3 -- RAM", "--cr3 needs a value"},
		{"an option given twice", "info RAM --cr3 CR3 --cr3=CLOCK", "--cr3 is given twice"},
		{"a flag given twice", "maps RAM --json --cr3 CR3 --json", "--json is given twice"},
		{"no SOURCE", "info --cr3 CR3", "too few arguments: want SOURCE; see physgdb info --help"},
		{"nothing to translate", "vtop RAM --cr3 CR3", "want ADDRESS..."},
		{"no length", "read RAM --cr3 CR3 0x400000", "want ADDRESS LENGTH"},
		{"two sources", "serve RAM RAM --cr3 CR3", "unexpected arguments"},
		{"an argument of notify", "notify RAM", "unexpected arguments"},
		{"a note at no number", "info RAM --vmcoreinfo here", "--vmcoreinfo here: not a hexadecimal number"},
		{"two places to start from", "info RAM --cr3 CR3 --vmcoreinfo 0x1000", "exclude each other"},
		{"a CR3 that is no number", "info RAM --cr3 4k", "neither a hexadecimal number nor hello:NAME"},
		{"a CR3 that is no number, before waiting", "info RAM --cr3 x --notify udp://127.0.0.1:0", "--cr3 x: neither"},
		{"a hello without notices", "info RAM --cr3 hello:clock", "needs --notify"},
		{"a hello without a name", "info RAM --cr3 hello: --notify n", "the name of a program is missing"},
		{"a level of nothing", "info RAM --cr3 CR3 --log-level loud", "want error, warn, info, debug or trace"},
		{"a timeout without unit", "info RAM --cr3 CR3 --timeout 5", `invalid value "5" for flag -timeout`},
		{"a negative timeout", "info RAM --cr3 CR3 --timeout -5s", "want a time such as 500ms"},
		{"a length that is no number", "read RAM --cr3 CR3 0x400000 4k", `length "4k": want a number of bytes`},
		{"a negative length", "read RAM --cr3 CR3 0x400000 -5", `length "-5": want a number of bytes`},
		{"a huge length", "read RAM --cr3 CR3 0x400000 0x10000000000000000", "want a number of bytes"},
		{"a length beyond the top", "read RAM --cr3 CR3 0xffffffffffffff00 0x200", "beyond the last address"},
		{"an address without 0x", "vtop RAM --cr3 CR3 400000", "for a hexadecimal number write 0x400000"},
		{"a physical address without 0x", "read RAM --phys 1000 4", "want a number such as 0x1000"},
		{"a symbol without a vmlinux", "vtop RAM --cr3 CR3 panic", "such as 0x1000, and symbols are not known: kallsyms: "},
		{"the same, before waiting", "vtop RAM --symbols none --notify udp://127.0.0.1:0 panic", "0x1000, and --symbols none leaves no symbols"},
		{"two places for symbols", "info RAM --vmlinux VMLINUX --symbols ram", "--vmlinux and --symbols exclude each other"},
		{"a place for symbols that is none", "info RAM --symbols rom", "--symbols rom: want auto, ram, none, or the FILE of a vmlinux: stat rom"},
		{"a symbol file without symbols", "symbols RAM --symbols none", "symbols: --symbols none leaves nothing to write"},
		{"an unknown symbol", "vtop RAM --cr3 CR3 --vmlinux VMLINUX panik", "nor a symbol of the kernel"},
		{"an offset that is none", "vtop RAM --cr3 CR3 --vmlinux VMLINUX panic+x", `"x" is not an offset`},
		{"text without its quotes", "find RAM _text, +4096, Linux", `find: Linux: want a number such as 0x1f, &SYMBOL, or "text" (in a shell`},
		{"both halves", "maps RAM --cr3 CR3 --user --kernel", "exclude each other"},
		{"a negative count", "notify --count -1", "--count -1"},
		{"a listening address without port", "serve RAM --cr3 CR3 --listen ::1", "--listen ::1: want HOST:PORT"},
		{"a listening port that is none", "serve RAM --cr3 CR3 --listen 127.0.0.1:99999", "want HOST:PORT, PORT, unix:PATH"},
		{"a socket without a path", "serve RAM --cr3 CR3 --listen unix:", "want unix:PATH"},
		{"threads of no kind", "serve RAM --cr3 CR3 --threads all", "serve: --threads all: want tasks or cpus"},
		{"no SOURCE for a debugger", "gdb -- -batch", "gdb: too few arguments: want SOURCE [-- ARGUMENT...]"},
		{"arguments of gdb without dashes", "gdb RAM bt", `unexpected arguments: ["bt"]; arguments for the debugger follow --`},
		{"options of gdb without dashes", "gdb RAM -batch", "gdb: unknown option --batch"},
		{"two debuggers", "gdb RAM --lldb --gdb gdb", "--gdb and --lldb exclude each other"},
		{"an adapter of nothing", "adapter", "want either SOURCE or --memory FILE"},
		{"an adapter of two things", "adapter RAM --memory RAM", "want either SOURCE or --memory FILE"},
		{"an adapter at IPv6", "adapter RAM --listen ::1", "want an IPv4 address"},
		{"an adapter's port too high", "adapter RAM --port 65281", "want 1 to 65280"},
		{"an adapter's odd size", "adapter RAM --mps 300", "want a power of two"},
		{"a probability above one", "adapter RAM --loss 2", "want 0 to 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := physgdb(t, h.words(tc.line)...)
			r.want(t, exitUsage, tc.want)
			if r.out != "" {
				t.Errorf("on stdout %q", r.out)
			}
		})
	}
}

func TestSourceIsEmpty(t *testing.T) {
	physgdb(t, "info", "", "--cr3", "0x1000").want(t, exitUsage, "SOURCE is empty: want a path")
}

func TestHelp(t *testing.T) {
	var names []string
	for _, cmd := range newApp(io.Discard, io.Discard).Commands {
		names = append(names, cmd.Name)
		for _, args := range [][]string{
			{cmd.Name, "--help"}, {cmd.Name, "-h"}, {cmd.Name, "x", "--help"}, {"help", cmd.Name},
		} {
			r := physgdb(t, args...)
			r.want(t, exitDone, "")
			for _, want := range []string{"physgdb " + cmd.Name, "Example", "--help, -h"} {
				if !strings.Contains(r.out, want) {
					t.Errorf("%q: no %q in\n%s", args, want, r.out)
				}
			}
			if r.errors != "" {
				t.Errorf("%q: on stderr %q", args, r.errors)
			}
		}
	}
	for _, args := range [][]string{{"--help"}, {"-h"}, {"help"}} {
		r := physgdb(t, args...)
		r.want(t, exitDone, "")
		for _, name := range names {
			if !strings.Contains(r.out, fmt.Sprintf("\n   %s ", name)) {
				t.Errorf("%q: %s is not listed in\n%s", args, name, r.out)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	r := physgdb(t, "--version")
	r.want(t, exitDone, "")
	if !strings.HasPrefix(r.out, "physgdb version ") || !strings.Contains(r.out, runtime.Version()) {
		t.Errorf("%q", r.out)
	}
}

// TestExamplesParse makes sure that no help shows an option that does not exist.
func TestExamplesParse(t *testing.T) {
	app := newApp(io.Discard, io.Discard)
	for _, cmd := range app.Commands {
		examples := 0
		for line := range strings.Lines(cmd.Description) {
			line, _, _ = strings.Cut(line, "|")
			words := strings.Fields(strings.TrimSuffix(strings.TrimSpace(line), "&"))
			if len(words) == 0 || words[0] != "physgdb" {
				continue
			}
			examples++
			if _, err := permute(app, words); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
		if examples == 0 {
			t.Errorf("%s has no example", cmd.Name)
		}
	}
}
