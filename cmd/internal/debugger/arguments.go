package debugger

import (
	"path/filepath"
	"slices"
	"strings"
)

// Session is what a debugger is started with.
type Session struct {
	Socket  string   // path of the Unix socket on which the stub listens
	Vmlinux string   // main file of the debugger, or empty
	Modules []string // directories with the files of modules
	// ModuleFiles are files of modules whose addresses are those that the modules run at, for lldb:
	// gdb gets the list of modules from the stub.
	ModuleFiles []string
	Args        []string // the user's own, after all others
}

// gdbArguments orders gdb's arguments. Our commands are passed by -ex, which gdb does after the
// user's ~/.gdbinit: so that this works as always, and cannot undo it. The user's own -ex and -x
// find the machine attached. gdb's sysroot stays the stub, which alone has what is made of memory.
//
// The index cache is on while gdb loads the vmlinux: from the second time on gdb then has its first
// struct in a second, not in ten or thirty. For modules it is off, as gdb would take the index of a
// module for right that lay elsewhere.
func gdbArguments(s *Session) []string {
	args := []string{"-q"}
	if s.Vmlinux != "" {
		args = append(args, "-iex", "set index-cache enabled on", "-se", s.Vmlinux)
	}
	commands := []string{"set index-cache enabled off", "set pagination off", "set confirm off", "set remotetimeout 30"}
	if len(s.Modules) > 0 {
		commands = append(commands, "set solib-search-path "+strings.Join(s.Modules, ":"))
	}
	for _, c := range append(commands, "target remote "+s.Socket) {
		args = append(args, "-ex", c)
	}
	return slices.Concat(args, s.Args)
}

// lldbArguments orders lldb's. It does -o after ~/.lldbinit and after the main file is loaded.
func lldbArguments(s *Session) []string {
	var args []string
	if s.Vmlinux != "" {
		args = append(args, "--file", s.Vmlinux)
	}
	commands := []string{"settings set auto-confirm true", "settings set plugin.process.gdb-remote.packet-timeout 30"}
	for _, dir := range s.Modules {
		commands = append(commands, "settings append target.exec-search-paths "+quoted(dir))
	}
	commands = append(commands, "process connect --plugin gdb-remote unix-connect://"+s.Socket)
	for _, file := range s.ModuleFiles {
		commands = append(commands, "target modules add "+quoted(file),
			"target modules load --slide 0 --file "+quoted(filepath.Base(file)))
	}
	for _, c := range commands {
		args = append(args, "-o", c)
	}
	return slices.Concat(args, s.Args)
}

// quoted makes one word of text for lldb.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
