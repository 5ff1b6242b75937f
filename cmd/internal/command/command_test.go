package command

import (
	"context"
	"errors"
	"strings"
	"testing"

	"physgdb/cmd/internal/machine"
	"physgdb/test/rig"

	"github.com/google/go-cmp/cmp"
)

// TestWordsOfACommand checks what arrives of a line of words.
func TestWordsOfACommand(t *testing.T) {
	var got Request
	c := &Command{
		Name: "ask", Args: "[WHAT]...", Options: []Option{{Name: "json"}, text("n", "N", "")},
		prepare: func(r *Request) (*Query, error) {
			got = *r
			return &Query{Run: func(context.Context, *Env) error { return nil }}, nil
		},
	}
	for _, tc := range []struct {
		name, line string
		args       []string
		options    map[string]string
	}{
		{"nothing", "", nil, map[string]string{}},
		{"arguments", "1 init", []string{"1", "init"}, map[string]string{}},
		{"options in front", "--json -n 5 1", []string{"1"}, map[string]string{"json": "true", "n": "5"}},
		{"options after", "1 -n 5 --json", []string{"1"}, map[string]string{"json": "true", "n": "5"}},
		{"options amid", "1 --json 2", []string{"1", "2"}, map[string]string{"json": "true"}},
		{"a value after =", "-n=5", nil, map[string]string{"n": "5"}},
		{"any number of dashes", "-json --n 5", nil, map[string]string{"json": "true", "n": "5"}},
		{"two dashes", "1 -- --json -n", []string{"1", "--json", "-n"}, map[string]string{}},
		{"a dash", "-", []string{"-"}, map[string]string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := c.Parse(strings.Fields(tc.line))
			rig.Must(t, err)
			if diff := cmp.Diff(Request{tc.args, tc.options, true}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestWordsThatMakeNoSense are errors of usage, whatever the machine is like.
func TestWordsThatMakeNoSense(t *testing.T) {
	for line, want := range map[string]string{
		"ps --threads":     "ps: unknown option --threads; it is: ps [--json] [PID|NAME]...",
		"bt --no-lines=1":  "bt: --no-lines takes no value; it is: bt [--no-lines] [--json]",
		"dmesg -l":         "dmesg: -l needs a value",
		"dmesg all":        "dmesg takes no arguments",
		"dmesg -n 0":       "dmesg: -n 0: want how many, such as 100",
		"dmesg -n -5":      "dmesg: -n -5: want how many",
		"dmesg -n many":    "dmesg: -n many: want how many",
		"dmesg -l loud":    "dmesg: -l loud: want levels such as err,warn or 3,4; they are emerg alert",
		"dmesg -l 8":       "dmesg: -l 8: want levels",
		"dmesg -l err,":    "dmesg: -l err,: want levels",
		"percpu runqueues": "percpu: want SYMBOL and CPU",
		"percpu a 0 1":     "percpu: want SYMBOL and CPU",
		"percpu a every":   `percpu: "every" is no CPU: want a number such as 0, or all`,
		"percpu a 0x1":     `percpu: "0x1" is no CPU`,
	} {
		words := strings.Fields(line)
		_, err := commandNamed(t, words[0]).Parse(words[1:])
		rig.WantError(t, err, want)
		if usage := (*machine.UsageError)(nil); !errors.As(err, &usage) {
			t.Errorf("%s: %v is not an error of usage", line, err)
		}
	}
}

func commandNamed(t *testing.T, name string) *Command {
	t.Helper()
	c := Find(name, Shell|Monitor)
	if c == nil {
		t.Fatalf("there is no command %s", name)
	}
	return c
}

// run runs a line of words on a machine, and returns what it wrote.
func run(t *testing.T, m *machine.Machine, words ...string) (string, error) {
	t.Helper()
	q, err := commandNamed(t, words[0]).Parse(words[1:])
	if err != nil {
		return "", err
	}
	var out, notes strings.Builder
	err = q.Run(ctx, NewEnv(m, &out, &notes))
	return out.String(), err
}

// TestCommandsSayWhatTheyLack because a kernel may have no types, and a user no vmlinux.
func TestCommandsSayWhatTheyLack(t *testing.T) {
	r := rig.New(t, 4)
	bare, typeless := attach(t, r, machine.Options{}), attachWithVmlinux(t, r)
	for _, line := range []string{"ps", "bt", "dmesg", "modules", "percpu runqueues all"} {
		words := strings.Fields(line)
		first, err := run(t, bare, words...)
		rig.WantError(t, err, words[0]+": the kernel's symbols are not known: kallsyms: no token table")
		second, err := run(t, typeless, words...)
		rig.WantError(t, err, words[0]+": ")
		if first != "" || second != "" {
			t.Errorf("%s: prints %q, %q", line, first, second)
		}
	}
}

// FuzzWords: whatever a debugger sends, a command makes sense of it or says that it does not.
func FuzzWords(f *testing.F) {
	for _, line := range []string{
		"bt all --json", "dmesg -T -l err+,+info -n 5", "percpu runqueues all", "ps -- -x", "modules --=", "cr3 -",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words := strings.Fields(line)
		if len(words) == 0 {
			return
		}
		for _, c := range All() {
			if c.Name != words[0] || !c.HasQuery() {
				continue
			}
			answer, err := c.Parse(words[1:])
			if usage := (*machine.UsageError)(nil); (answer == nil) == (err == nil) || err != nil && !errors.As(err, &usage) {
				t.Errorf("%q: %v, %v", line, answer != nil, err)
			}
		}
	})
}
