// Package clients executes the actions of a user on a dead machine with every common debugger, and
// records the results.
//
// A row is an action (rows_test.go), separate from how a client does it; a column is a client
// (gdb_test.go, lldb_test.go, …), which has the commands for each action; and there is a table
// for each kit (kit_test.go), the files that a user has besides the machine. Every cell passes, or
// is known not to for a reason that lies in the client. `make clients` writes the tables to
// docs/clients.md, and what was typed, answered and sent to bin/clients; there each action may also
// take no more than [limit] longer than the same client needs for the same without any machine.
package clients
