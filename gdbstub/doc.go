// Package gdbstub serves a machine that can be looked at, but not run, to gdb, VS Code and lldb
// over the GDB remote serial protocol. It knows no operating system and no paging: a machine is
// whatever implements Target.
//
// Three methods make a Target. Everything else a machine may offer is an optional ability, an
// interface of its own (abilities.go) that is found by type assertion. What the server advertises
// follows from the abilities it found, so that it never promises a packet it does not answer. A
// machine may have programs that a client attaches to beside it (inferior.go): each is a Target of
// its own.
//
// # How a request travels
//
// A Server gives each connection a Target of its own and two goroutines. The session (session.go)
// owns the connection: it reads a packet, dispatches it (dispatch.go) to the file of its family,
// and sends exactly one reply. The worker (worker.go) owns the Target: it opens it, makes every
// call, and closes it. Between the two stands a deadline for each request. gdb gives up on a reply
// after 6 s and takes whatever comes later for the answer to its next request, so a wrong value
// would be printed silently; therefore a request is answered in time, with an error if need be, and
// an answer that comes too late is dropped.
//
// # Rules that are not in the manual
//
// A request to run is answered at once with a sentence and a stop by SIGINT: the one reply that
// leaves every client at its prompt. Writes and breakpoints are refused with an error, never with
// an empty reply, which gdb takes for success. gdb and lldb want some packets answered differently
// (lldb.go); who speaks shows in the first of them. These and more were measured with gdb 13, 16
// and 18 and lldb 14 and 19.
//
// # Who does not behave
//
// A client that says nothing, does not end what it began, does not read its replies or floods is
// let go (deadline.go, listener.go); the limits are in Options. What it can make the server keep is
// bounded.
package gdbstub
