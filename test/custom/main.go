// Command custom builds the kernels of test/guest/custom, panics each in a module, and writes a
// table of what physgdb can do with its memory.
//
//	go run ./test/custom -table docs/kernels-custom.md
//
// A cell passes only if what physgdb shows equals what the guest reported about itself, what its
// kernel printed, or what its vmlinux and System.map contain. The program fails if a cell is wrong
// without a message that says so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"physgdb/test/guest"
	"physgdb/test/session"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "custom:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	table := flag.String("table", "", "write the table to a `FILE`, not to stdout")
	only := flag.String("only", "", "do only these kernels: `NAMES` with commas")
	keep := flag.String("keep", "", "keep RAM, logs and symbols of the guests in directories below `DIR`")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected arguments: %q", flag.Args())
	}
	dir, err := os.MkdirTemp("", "physgdb-custom-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &runner{log: hclog.New(&hclog.LoggerOptions{Output: os.Stderr}), keep: *keep}
	if r.physgdb, err = session.Build(ctx, dir); err != nil {
		return err
	}
	kernels, err := chosen(ctx, *only)
	if err != nil {
		return err
	}
	var columns []*column
	for _, k := range kernels {
		columns = append(columns, r.try(ctx, k))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	text := markdown(columns)
	if *table == "" {
		fmt.Print(text)
	} else if err := os.WriteFile(*table, []byte(text), 0o644); err != nil {
		return err
	}
	return failures(columns)
}

// chosen returns the kernels with the given names, or all.
func chosen(ctx context.Context, names string) ([]*guest.Custom, error) {
	all, err := guest.Customs(ctx)
	if err != nil || names == "" {
		return all, err
	}
	var some []*guest.Custom
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(c *guest.Custom) bool { return c.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("no %s.config", name)
		}
		some = append(some, all[i])
	}
	return some, nil
}

// runner fills the table.
type runner struct {
	physgdb session.Physgdb
	log     hclog.Logger
	keep    string
}

// try builds a kernel, boots it, and fills its column.
func (r *runner) try(ctx context.Context, c *guest.Custom) *column {
	col := &column{Custom: c, cells: map[string]cell{}}
	k, err := guest.PrepareCustom(ctx, c, r.log)
	if err != nil {
		col.err = err
		return col
	}
	config := guest.Config{Kernel: k, LA57: true, PTI: true, MemoryMiB: 256, Panic: "oops", Logger: r.log}
	if r.keep != "" {
		config.Dir = filepath.Join(r.keep, c.Name)
		if col.err = os.MkdirAll(config.Dir, 0o755); col.err != nil {
			return col
		}
	}
	g, err := guest.Boot(ctx, config)
	if err != nil {
		col.err = err
		return col
	}
	if r.keep == "" {
		defer g.Close()
	}
	col.release = g.Facts.Release
	m := &machine{physgdb: r.physgdb, guest: g}
	for _, row := range rows {
		r.log.Info(c.Name + ": " + row.name)
		col.cells[row.name] = row.check(ctx, m)
	}
	return col
}

// failures returns an error that lists the failed cells.
func failures(columns []*column) error {
	var wrong []error
	for _, c := range columns {
		if c.err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", c.Name, c.err))
		}
		for _, row := range rows {
			if cell := c.cells[row.name]; cell.verdict == failed {
				wrong = append(wrong, fmt.Errorf("%s: %s: %s", c.Name, row.name, cell.text))
			}
		}
	}
	return errors.Join(wrong...)
}
