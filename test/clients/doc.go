// Package clients has every debugger that people use do what a person does with a dead machine, and tells how each fares.
//
// A row is an action (rows_test.go), told apart from how it is done; a column is a client (gdb_test.go, lldb_test.go, …), which
// knows what to type for each action. Every cell passes, or is known not to for a reason that lies in the client, and takes
// no more than [limit] longer than the same client needs for the same without any machine. `make clients` writes the table
// to docs/clients.md, and what was typed, answered and sent to bin/clients.
package clients
