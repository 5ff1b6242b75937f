package kernels

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"physgdb/test/guest"
	"physgdb/test/session"
	"physgdb/test/verify"
)

var (
	tableFile = flag.String("table", "", "write the table to a `FILE`, in which rows of other machines stay")
	only      = flag.String("kernels", "", "with -table, test only these `series`, separated by blanks")
)

// TestKernels boots machines of the matrix, panics them and runs every check on each, two machines
// at a time. Without a table, these are only the oldest kernel and the newest: other tests use
// those between.
func TestKernels(t *testing.T) {
	if testing.Short() {
		t.Skip("boots kernels")
	}
	specs, err := sample(), error(nil)
	if *tableFile != "" {
		specs, err = wanted(t.Context(), strings.Fields(*only))
	}
	if err != nil {
		t.Fatal(err)
	}
	physgdb, err := session.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var rows []row
	begin := time.Now()
	t.Run("machines", func(t *testing.T) {
		for _, s := range specs {
			t.Run(s.name(), func(t *testing.T) {
				t.Parallel()
				r := test(t, physgdb, s)
				mu.Lock()
				defer mu.Unlock()
				rows = append(rows, r)
				if *tableFile == "" {
					return
				}
				if err := save(*tableFile, rows); err != nil {
					t.Error(err)
				}
			})
		}
	})
	t.Logf("%d machines in %v", len(rows), time.Since(begin).Round(time.Second))
}

// errNotBooted is the result of every check on a machine that could not be booted.
var errNotBooted = errors.New("not booted")

// test boots a machine and runs every check on it. A machine that cannot be booted fails in every
// column.
func test(t *testing.T, physgdb session.Physgdb, s spec) row {
	begin := time.Now()
	r := row{spec: s}
	m, err := boot(t, physgdb, s)
	if err != nil {
		t.Error(err)
	} else {
		r.release = m.guest.Kernel.Release
	}
	for _, c := range checks {
		failure := errNotBooted
		started := time.Now()
		if err == nil {
			failure = c.do(t.Context(), m)
		}
		r.cells = append(r.cells, cell(failure))
		if err == nil && failure != nil && !errors.Is(failure, errAbsent) {
			t.Errorf("%s: %.4000s", c.name, failure.Error())
		}
		t.Logf("%-12s %5.1f s", c.name, time.Since(started).Seconds())
	}
	r.took = time.Since(begin)
	return r
}

// boot boots and panics a machine and reads its report.
func boot(t *testing.T, physgdb session.Physgdb, s spec) (*machine, error) {
	c := s.config()
	c.Logger = hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Warn})
	const maxBoot = 15 * time.Minute // real-time kernels are slow on a busy computer
	ctx, cancel := context.WithTimeoutCause(t.Context(), maxBoot, fmt.Errorf("no panic in %v", maxBoot))
	defer cancel()
	g, err := guest.Boot(ctx, c)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = g.Close() }) // an error concerns only its files
	m := &machine{spec: s, guest: g, physgdb: physgdb, dir: t.TempDir()}
	if m.stacks, err = g.Stacks(); err != nil {
		return nil, err
	}
	text, err := g.AllKallsyms()
	if err != nil {
		return nil, err
	}
	if m.symbols, err = verify.ParseSymbols(text); err != nil {
		return nil, err
	}
	return m, takeNoticedCPU(g)
}

// takeNoticedCPU sets the CPU that panicked from the notice of the panic, if there is one. It is
// sent after the log: on 5.10 with PREEMPT_RT the task may move to another CPU while it prints.
func takeNoticedCPU(g *guest.Guest) error {
	notices := g.Notices("panic")
	if len(notices) == 0 {
		return nil
	}
	notice := struct{ CPU int }{g.Facts.PanicCPU}
	if err := json.Unmarshal(notices[0], &notice); err != nil {
		return fmt.Errorf("the guest's notice: %w", err)
	}
	g.Facts.PanicCPU = notice.CPU
	return nil
}
