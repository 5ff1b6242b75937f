// Command guest boots a kernel, lets it panic, freezes it, says where everything is, and waits for Ctrl-C.
//
//	go run ./test/guest/cmd/guest -release 6.12 -la57 -pti
//
// One line of JSON on stdout tells when the guest is ready.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"physgdb/test/guest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	c := guest.Config{Logger: hclog.New(&hclog.LoggerOptions{Output: os.Stderr})}
	prepareOnly := flag.Bool("prepare", false, "only see to it that the kernel is here")
	flag.StringVar(&c.Release, "release", "6.12", "kernel `series`: 6.1 or 6.12")
	flag.BoolVar(&c.LA57, "la57", false, "5-level paging")
	flag.BoolVar(&c.PTI, "pti", false, "page-table isolation")
	flag.IntVar(&c.MemoryMiB, "memory", 0, "RAM in `MiB` (default 512)")
	flag.IntVar(&c.CPUs, "cpus", 0, "number of CPUs (default 2)")
	flag.StringVar(&c.Panic, "panic", "", "`how` to die: sysrq, exit or none (default sysrq)")
	flag.StringVar(&c.Cmdline, "append", "", "added to the kernel command line")
	flag.IntVar(&c.NoticePort, "notice-port", 0, "UDP `port` on 127.0.0.1 where notices are awaited (default: take them)")
	flag.StringVar(&c.Dir, "dir", "", "existing `directory` for the guest's files (default: a temporary one)")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if *prepareOnly {
		_, err := guest.Prepare(ctx, c.Release, c.Logger)
		return err
	}
	g, err := guest.Boot(ctx, c)
	if err != nil {
		return err
	}
	if err := describe(g); err != nil {
		return fmt.Errorf("%w (closing: %v)", err, g.Close())
	}
	<-ctx.Done()
	return g.Close()
}

// describe prints what one needs to look into the guest.
func describe(g *guest.Guest) error {
	about := map[string]any{
		"source":     g.Source(),
		"ram":        g.RAMFile(),
		"vmlinux":    g.Kernel.Vmlinux,
		"clock":      g.ClockELF(),
		"serial":     g.SerialLog(),
		"qmp":        g.QMPSocket(),
		"clock_cr3":  fmt.Sprintf("%#x", g.Facts.ClockCR3),
		"clock_time": g.Facts.LastClock,
	}
	if notices := g.Notices("panic"); len(notices) > 0 {
		about["notice"] = json.RawMessage(notices[0])
	}
	return json.NewEncoder(os.Stdout).Encode(about)
}
