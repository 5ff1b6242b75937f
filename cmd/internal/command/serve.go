package command

import (
	"fmt"
	"strconv"

	"physgdb/bridge/nettlp"
	"physgdb/bridge/notify"
	"physgdb/cmd/internal/query"
)

func serveCommand() Command {
	return Command{
		Name: "serve", In: Shell, Needs: Machine,
		Help: "run a gdbserver for a dead machine",
		About: `Finds the kernel in SOURCE and waits for debuggers: gdb -ex 'target remote ADDRESS'. gdb needs no
local files: it downloads the kernel and its modules, with symbols and types, from physgdb. For lldb see physgdb
symbols --help. physgdb prints one line on stdout when it is ready. With --listen stdio it serves the debugger that
started it, and prints only on stderr. In gdb use: target remote | physgdb serve --listen stdio SOURCE
or the same after | ssh HOST.

Examples:
  physgdb serve file:/tmp/ram
  physgdb serve file:/tmp/ram --vmlinux vmlinux --listen unix:/run/user/1000/dead
  physgdb serve 'nettlp://192.168.10.1?local=192.168.10.3&requester=1b:00' --notify udp://192.168.10.3:6666`,
		Options: append([]Option{
			{Name: "listen", Kind: Text, Value: "ADDRESS", Default: "127.0.0.1:1234",
				Usage: "`ADDRESS` to listen on for debuggers: HOST:PORT, PORT, unix:PATH, or stdio"},
			jsonOption(query.Listening{}),
		}, servedOptions()...),
		Prints: []any{query.Listening{}},
	}
}

func gdbCommand() Command {
	return Command{
		Name: "gdb", Args: "[-- ARGUMENT...]", In: Shell, Needs: Machine,
		Help: "start gdb on a dead machine",
		About: `Finds the kernel in SOURCE, loads its symbols into gdb, and connects gdb to the machine. No other client can connect.
The words after -- are arguments of gdb. gdb reads ~/.gdbinit as usual. The exit status is that of gdb.

Examples:
  physgdb gdb file:/tmp/ram
  physgdb gdb file:/tmp/ram -- -batch -ex bt
  physgdb gdb file:/tmp/ram --lldb --vmlinux vmlinux
  physgdb gdb file:/tmp/ram --notify notices.jsonl --cr3 hello:clock -- ./clock`,
		Options: append([]Option{
			{Name: "gdb", Kind: Text, Value: "PATH", Files: true, Usage: "`PATH` or name of the gdb to start"},
			{Name: "lldb", Usage: "start the newest installed lldb instead of gdb"},
		}, servedOptions()...),
	}
}

func notifyCommand() Command {
	return Command{
		Name: "notify", In: Shell, Needs: Logs,
		Help: "print notices of target machines as JSON lines when they arrive",
		About: `Run this command on the machine to which the kernel module sends notices, and save the output in a file. The other
commands read the file with --notify FILE.

Example:
  physgdb notify --listen udp://192.168.10.3:6666 | tee -a notices.jsonl`,
		Options: []Option{
			{Name: "listen", Kind: Text, Value: "URL", Default: fmt.Sprintf("udp://127.0.0.1:%d", notify.DefaultPort),
				Usage: "`URL` to listen on"},
			{Name: "count", Kind: Int, Value: "N", Default: "0", Usage: "end after `N` notices"},
		},
	}
}

func adapterCommand() Command {
	probability := func(name, usage string) Option {
		return Option{Name: name, Kind: Float, Value: "PROBABILITY", Default: "0", Usage: usage}
	}
	return Command{
		Name: "adapter", Args: "[SOURCE]", In: Shell, Needs: Memory,
		Help: "emulate a NetTLP adapter that reads the memory of any source",
		About: `Answers PCIe memory reads in UDP datagrams, like a NetTLP adapter in the target machine. It is read-only, and
answers "unsupported request" for addresses outside RAM. Use it for experiments and for tests of unreliable links. It
needs an IP address different from the client's, because the protocol fixes the ports. It prints statistics when it
ends.

Example:
  physgdb adapter file:/tmp/ram --listen 127.0.0.2 &
  physgdb info 'nettlp://127.0.0.2?local=127.0.0.3&requester=01:00'`,
		Options: []Option{
			{Name: "memory", Kind: Text, Value: "FILE", Files: true, Usage: "same as SOURCE file:`FILE`"},
			{Name: "listen", Kind: Text, Value: "ADDRESS", Default: "127.0.0.2", Usage: "IPv4 `ADDRESS` of the adapter"},
			{Name: "port", Kind: Int, Value: "PORT", Default: strconv.Itoa(nettlp.BasePort), Usage: "UDP `PORT` of tag 0"},
			{Name: "mps", Kind: Int, Value: "BYTES", Default: strconv.Itoa(nettlp.DefaultMPS), Usage: "maximum `BYTES` in one completion"},
			{Name: "rcb", Kind: Int, Value: "BYTES", Default: strconv.Itoa(nettlp.DefaultRCB),
				Usage: "read completion boundary, 64 or 128 `BYTES`"},
			{Name: "delay", Kind: Duration, Value: "DURATION", Default: "0s", Usage: "delay of each answer"},
			probability("loss", "`PROBABILITY` that a datagram is lost, 0 to 1"),
			probability("reorder", "`PROBABILITY` that a completion arrives after the next one"),
			probability("dup", "`PROBABILITY` that a completion is sent twice"),
			jsonOption(query.Listening{}),
		},
		Prints: []any{query.Listening{}},
	}
}

// The commands of a debugger's session.

func physCommand() Command {
	return Command{
		Name: "phys", In: Monitor, MonitorArgs: "[on|off]",
		Help: "show or set whether addresses are physical, for this connection only",
	}
}

func filesCommand() Command {
	return Command{Name: "files", In: Monitor, Help: "list the files of the machine that gdb's remote get can fetch"}
}

func helpCommand() Command {
	return Command{Name: "help", In: Monitor, MonitorArgs: "[COMMAND]", Help: "list the commands, or describe one command"}
}
