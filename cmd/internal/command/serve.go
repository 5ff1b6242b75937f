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
		Help: "be the gdbserver of a dead machine",
		About: `Finds the kernel in SOURCE and waits for debuggers: gdb -ex 'target remote ADDRESS'. gdb needs no file: it takes from here
what it has none of, the kernel and its modules, with their symbols and types. For lldb see physgdb symbols --help.
Prints one line on stdout when it is ready. With --listen stdio it serves the debugger that started it, and prints on stderr
alone: in gdb, target remote | physgdb serve --listen stdio SOURCE, or the same after | ssh HOST.

Examples:
  physgdb serve file:/tmp/ram
  physgdb serve file:/tmp/ram --vmlinux vmlinux --listen unix:/run/user/1000/dead
  physgdb serve 'nettlp://192.168.10.1?local=192.168.10.3&requester=1b:00' --notify udp://192.168.10.3:6666`,
		Options: append([]Option{
			{Name: "listen", Kind: Text, Value: "ADDRESS", Default: "127.0.0.1:1234",
				Usage: "where debuggers come in: HOST:PORT or PORT, unix:PATH, or stdio: an `ADDRESS`"},
			jsonOption(query.Listening{}),
		}, servedOptions()...),
		Prints: []any{query.Listening{}},
	}
}

func gdbCommand() Command {
	return Command{
		Name: "gdb", Args: "[-- ARGUMENT...]", In: Shell, Needs: Machine,
		Help: "start gdb on a dead machine",
		About: `Finds the kernel in SOURCE, and starts gdb with its symbols loaded and the machine attached. No other client can connect.
The words after -- are arguments for gdb, which reads ~/.gdbinit as always. The exit status is gdb's.

Examples:
  physgdb gdb file:/tmp/ram
  physgdb gdb file:/tmp/ram -- -batch -ex bt
  physgdb gdb file:/tmp/ram --lldb --vmlinux vmlinux
  physgdb gdb file:/tmp/ram --notify notices.jsonl --cr3 hello:clock -- ./clock`,
		Options: append([]Option{
			{Name: "gdb", Kind: Text, Value: "PATH", Files: true, Usage: "the gdb to start: its `PATH`, or its name on PATH"},
			{Name: "lldb", Usage: "start lldb instead, the newest that is installed"},
		}, servedOptions()...),
	}
}

func notifyCommand() Command {
	return Command{
		Name: "notify", In: Shell, Needs: Logs,
		Help: "print the notices of hosts as they arrive, as JSON lines",
		About: `Leave it running on the machine that the kernel module sends to, and keep what it prints: --notify FILE reads it.

Example:
  physgdb notify --listen udp://192.168.10.3:6666 | tee -a notices.jsonl`,
		Options: []Option{
			{Name: "listen", Kind: Text, Value: "URL", Default: fmt.Sprintf("udp://127.0.0.1:%d", notify.DefaultPort),
				Usage: "`URL` of the address to listen on"},
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
		Help: "be a NetTLP adapter in software, over the memory of any source",
		About: `Answers PCIe memory reads that come in UDP datagrams, as a NetTLP adapter in the host would: read-only, and
"unsupported request" for what is not RAM. For trying things out, and for tests of bad links. Needs an IP address other
than the client's; the ports are fixed by the protocol. Says what it has answered when it ends.

Example:
  physgdb adapter file:/tmp/ram --listen 127.0.0.2 &
  physgdb info 'nettlp://127.0.0.2?local=127.0.0.3&requester=01:00'`,
		Options: []Option{
			{Name: "memory", Kind: Text, Value: "FILE", Files: true, Usage: "the same as a SOURCE of file:`FILE`"},
			{Name: "listen", Kind: Text, Value: "ADDRESS", Default: "127.0.0.2", Usage: "IPv4 `ADDRESS` of the adapter"},
			{Name: "port", Kind: Int, Value: "PORT", Default: strconv.Itoa(nettlp.BasePort), Usage: "UDP `PORT` of tag 0"},
			{Name: "mps", Kind: Int, Value: "BYTES", Default: strconv.Itoa(nettlp.DefaultMPS), Usage: "most `BYTES` in one completion"},
			{Name: "rcb", Kind: Int, Value: "BYTES", Default: strconv.Itoa(nettlp.DefaultRCB),
				Usage: "read completion boundary, 64 or 128 `BYTES`"},
			{Name: "delay", Kind: Duration, Value: "DURATION", Default: "0s", Usage: "how long each answer is on its way"},
			probability("loss", "`PROBABILITY` that a datagram is lost, 0 to 1"),
			probability("reorder", "`PROBABILITY` that a completion is overtaken by the next"),
			probability("dup", "`PROBABILITY` that a completion comes twice"),
			jsonOption(query.Listening{}),
		},
		Prints: []any{query.Listening{}},
	}
}

// The commands of a debugger's session.

func physCommand() Command {
	return Command{
		Name: "phys", In: Monitor, MonitorArgs: "[on|off]",
		Help: "show whether addresses are physical, or make them so, for this connection alone",
	}
}

func filesCommand() Command {
	return Command{Name: "files", In: Monitor, Help: "the files of the machine that gdb's remote get can fetch"}
}

func helpCommand() Command {
	return Command{Name: "help", In: Monitor, MonitorArgs: "[COMMAND]", Help: "this list, or what one command does"}
}
