// Command gen writes what is generated from the declarations of package command: the manual page,
// and docs/json.md.
//
//	go run ./cmd/internal/gen man > physgdb.1
//	go run ./cmd/internal/gen json > docs/json.md
//
// It runs at the top of the repository.
package main

import (
	"fmt"
	"io"
	"os"

	"physgdb/cmd/internal/command"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(args []string, w io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("want man or json, not %q", args)
	}
	switch args[0] {
	case "man":
		return command.Man(w)
	case "json":
		return writeJSON(w, "cmd/internal/query")
	}
	return fmt.Errorf("want man or json, not %q", args)
}
