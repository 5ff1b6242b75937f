// Package kernels tests physgdb on dead machines with kernels of every age and flavour. `make
// kernels` tests all of them and writes the results as a table, docs/kernels.md; `make test` tests
// two.
//
// A row is a machine (machines_test.go): kernel, paging mode and cause of death. A column is a
// check (checks_test.go), which compares what physgdb, gdb or lldb show with what the guest said of
// itself while it lived (package verify).
package kernels
