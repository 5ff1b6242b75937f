package command

import (
	"reflect"
	"strings"

	"physgdb/cmd/internal/machine"
)

// Kind is the type of an option's value.
type Kind uint8

// Kinds of options.
const (
	Switch   Kind = iota // nothing
	Text                 // a word
	Int                  // an integer
	Float                // a number
	Duration             // a time with its unit
	List                 // a word; the option may be repeated
)

// Option is an option of a command.
type Option struct {
	Name    string
	Kind    Kind
	Value   string // what it takes, such as N; empty for a switch
	Usage   string
	Default string   // the value if it is not given; empty for none
	Shown   string   // what the help shows as the default, if that is not Default
	Env     string   // a variable of the environment that gives the value
	Choices []string // the words that it takes, for completion; empty for any
	Files   bool     // it takes a path
}

// text returns an option of kind Text.
func text(name, value, usage string) Option {
	return Option{Name: name, Kind: Text, Value: value, Usage: usage}
}

// jsonOption returns the --json option of a command that prints results. row is a value of the type
// that is printed on each line, or nil if the output is one document.
func jsonOption(row any) Option {
	if row == nil {
		return Option{Name: "json", Usage: "one JSON object, see docs/json.md"}
	}
	return Option{Name: "json", Usage: "one JSON object a line: " + strings.Join(jsonKeys(row), ", ")}
}

// jsonKeys returns the names of the fields of a struct in JSON.
func jsonKeys(row any) []string {
	var keys []string
	t := reflect.TypeOf(row)
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			keys = append(keys, name)
		}
	}
	return keys
}

// sharedOptions returns the options that all commands with the same needs have.
func sharedOptions(n Needs) []Option {
	switch n {
	case Nothing:
		return nil
	case Logs:
		return logOptions()
	case Memory:
		return memoryOptions()
	}
	return machineOptions()
}

// AllOptions returns the options of a command in the shell, its own first.
func (c *Command) AllOptions() []Option {
	return append(c.Options[:len(c.Options):len(c.Options)], sharedOptions(c.Needs)...)
}

func logOptions() []Option {
	return []Option{
		{Name: "log-level", Kind: Text, Value: "LEVEL", Default: "warn", Choices: []string{"error", "warn", "info", "debug", "trace"},
			Usage: "`LEVEL` of the log on stderr: error, warn, info, debug, trace"},
		{Name: "log-json", Usage: "write the log as JSON"},
	}
}

func memoryOptions() []Option {
	return append([]Option{
		{Name: "ram", Kind: Text, Value: "FILE", Files: true,
			Usage: "RAM map of the target machine: a `FILE` with its /proc/iomem, or with lines start-end"},
		{Name: "timeout", Kind: Duration, Value: "DURATION", Shown: "set by the source",
			Usage: "time limit for one request of the bridge, retries included, such as 500ms"},
	}, logOptions()...)
}

func machineOptions() []Option {
	return append([]Option{
		text("cr3", "CR3", "the `CR3` to start from: hexadecimal, or hello:NAME for a process that has sent its own in a notice; "+
			"without it physgdb looks for the kernel"),
		text("notify", "WHERE", "source of the target's notices, `WHERE`: udp://ADDRESS:PORT to wait for the notice of its panic, or a file "+
			"with the output of physgdb notify"),
		text("vmcoreinfo", "HEX", "the physical address `HEX` of the target's VMCOREINFO note, used to find the kernel; the target shows it in "+
			"/sys/kernel/vmcoreinfo"),
		{Name: "vmlinux", Kind: Text, Value: "FILE", Files: true,
			Usage: "the kernel's vmlinux `FILE`, which adds source lines and local variables"},
		{Name: "symbols", Kind: Text, Value: "FROM", Default: machine.SymbolsAuto, Files: true,
			Choices: []string{machine.SymbolsAuto, machine.SymbolsRAM, machine.SymbolsNone},
			Usage: "where names and types come `FROM`: ram, the memory of the target; auto, a vmlinux of the kernel's build-id if one " +
				"is found, else ram; none; or a vmlinux FILE"},
		{Name: "debug-dir", Kind: List, Value: "DIR", Files: true,
			Usage: "`DIR` with vmlinuxes, in addition to the usual places; may be given more than once"},
		{Name: "modules", Kind: List, Value: "DIR", Files: true,
			Usage: "`DIR` with the files of loaded modules, in addition to the usual places; may be given more than once"},
		{Name: "trust-build-id", Usage: "use cached files of the kernel's build-id without comparing them with memory: faster, " +
			"but safe only if the machine was not tampered with"},
		{Name: "cache-limit", Kind: Text, Value: "SIZE", Default: "2GiB", Env: "PHYSGDB_CACHE_LIMIT",
			Usage: "maximum `SIZE` of the cache; see physgdb cache"},
	}, memoryOptions()...)
}

// servedOptions are those of commands that serve debuggers.
func servedOptions() []Option {
	return []Option{
		{Name: "threads", Kind: Text, Value: "KIND", Default: "tasks", Choices: []string{"tasks", "cpus"},
			Usage: "`KIND` of the threads that a debugger sees: tasks, or cpus with the tasks that they ran"},
		{Name: "live", Usage: "the target machine is running: continue and Ctrl-C in the debugger read its state again"},
	}
}
