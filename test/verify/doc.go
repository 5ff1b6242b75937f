// Package verify compares what physgdb, gdb and lldb show of a dead guest with what the guest
// reported while it was running. Each function returns an error that lists all differences, or nil.
package verify
