// Package gdbstub serves a machine to gdb, VS Code and lldb over the GDB remote serial protocol. It
// contains no operating system and no paging: a machine is whatever implements Target.
//
// Three methods make a Target. Everything else a machine may offer is an optional ability, an
// interface of its own (abilities.go) that is found by type assertion. The server advertises what
// follows from these abilities, so it never promises a packet that it does not answer. A machine
// may have programs that a client attaches to as further processes (inferior.go): each is a Target
// of its own.
//
// # Path of a request
//
// A Server gives each connection a Target of its own and three goroutines. The input (input.go)
// reads events from the connection, one at a time. The session (session.go) owns all state of the
// connection: its loop waits for the client, for the worker and for stops of the machine,
// dispatches a packet (dispatch.go) to the file of its family, and sends exactly one reply. The
// worker (internal/worker) owns the Target: it opens it, makes every call, and closes it. The
// context of a request carries its deadline. gdb gives up on a reply after 6 s and takes a later
// one for the answer to its next request, so a wrong value would be printed silently; therefore a
// request is answered in time, with an error if necessary, and the result of a late call is
// dropped.
//
// # Rules that are not in the manual
//
// A request to run is passed to the Target if it is a Runner; the stop is reported when it happens.
// Any other Target refuses at once with a sentence and a stop by SIGINT: the one reply that leaves
// every client at its prompt. Writes and breakpoints are refused with an error, never with an empty
// reply, which gdb takes for success. gdb and lldb want some packets answered differently
// (lldb.go); the first packet shows which of them it is. These and more were measured with gdb 13,
// 16 and 18 and lldb 14 and 19.
//
// # Misbehaving clients
//
// Clients that send nothing, do not finish a packet, do not read their replies or flood the server
// are disconnected (internal/accept); the limits are in Options. The memory that a client can
// occupy is bounded.
package gdbstub
