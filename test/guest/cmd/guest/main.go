// Command guest boots a kernel, lets it panic, freezes it, says where everything is, and waits for
// Ctrl-C.
//
//	go run ./test/guest/cmd/guest -release 6.12 -la57 -pti
//
// It prints one line of JSON on stdout when the guest is ready.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
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
	flag.StringVar(&c.Release, "release", "6.12", "kernel `series`, such as 5.10, 6.12 or 7.3, or newest")
	flag.StringVar(&c.Flavour, "flavour", "cloud", "kernel `flavour`: cloud, generic or rt")
	flag.BoolVar(&c.NoDebug, "no-debug", false, "do without the debug package, hundreds of MB: there will be no vmlinux")
	flag.BoolVar(&c.LA57, "la57", false, "5-level paging")
	flag.BoolVar(&c.PTI, "pti", false, "page-table isolation")
	flag.IntVar(&c.MemoryMiB, "memory", 0, "RAM in `MiB` (default 512)")
	flag.IntVar(&c.CPUs, "cpus", 0, "number of CPUs (default 2)")
	flag.IntVar(&c.Nodes, "nodes", 0, "`number` of NUMA nodes, each with a file for its RAM (default: one file, no NUMA)")
	flag.StringVar(&c.Panic, "panic", "",
		"`how` to die: sysrq, exit, oops, bug, hung, irq, irq-user, nmi, chain, kprobe, livepatch; or none (default sysrq)")
	instrument := flag.String("instrument", "", "what changes stacks: `list` of graph, kretprobe, fexit, sleepable, module")
	flag.StringVar(&c.Other, "other", "", "`what` the CPUs that do not panic do: idle or user (default idle)")
	flag.IntVar(&c.Threads, "threads", 0, "start a process with so `many` threads")
	flag.IntVar(&c.Modules, "modules", 0, "load so `many` modules dummy_000, dummy_001…")
	flag.BoolVar(&c.Full, "full", false, "let the guest write all symbols and stacks into the file shelf")
	flag.StringVar(&c.Cmdline, "append", "", "added to the kernel command line")
	flag.IntVar(&c.NoticePort, "notice-port", 0, "UDP `port` on 127.0.0.1 where notices are awaited (default: take them)")
	dump := flag.String("dump", "", "also write the memory to a `file` in the format of kdump")
	flag.StringVar(&c.Dir, "dir", "", "existing `directory` for the guest's files (default: a temporary one)")
	flag.Parse()
	c.Instrument = strings.FieldsFunc(*instrument, func(r rune) bool { return r == ',' })
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if *prepareOnly {
		return prepare(ctx, c)
	}
	g, err := guest.Boot(ctx, c)
	if err != nil {
		return err
	}
	if *dump != "" {
		err = g.Dump(ctx, *dump)
	}
	if err == nil {
		err = describe(ctx, g)
	}
	if err != nil {
		return errors.Join(err, g.Close())
	}
	<-ctx.Done()
	return g.Close()
}

func prepare(ctx context.Context, c guest.Config) error {
	w := guest.Wanted{Series: c.Release, Flavour: c.Flavour, NoDebug: c.NoDebug}
	_, err := guest.PrepareKernel(ctx, w, c.Logger)
	return err
}

// describe prints what one needs to look into the guest. All that it said of itself, which is long,
// goes into files.
func describe(ctx context.Context, g *guest.Guest) error {
	registers, err := allRegisters(ctx, g)
	if err != nil {
		return err
	}
	files := map[string]any{"facts.json": g.Facts, "registers.json": registers}
	for name, content := range files {
		if err := writeJSON(filepath.Join(g.Dir(), name), content); err != nil {
			return err
		}
	}
	about := map[string]any{
		"source":         g.Source(),
		"ram":            g.RAMFile(),
		"trouble":        g.Kernel.Trouble,
		"clock":          g.ClockELF(),
		"extras":         g.ExtrasELF(),
		"serial":         g.SerialLog(),
		"qmp":            g.QMPSocket(),
		"facts":          filepath.Join(g.Dir(), "facts.json"),
		"registers":      filepath.Join(g.Dir(), "registers.json"),
		"clock_cr3":      fmt.Sprintf("%#x", g.Facts.ClockCR3),
		"clock_fs_base":  fmt.Sprintf("%#x", g.Facts.ClockFSBase),
		"clock_time":     g.Facts.LastClock,
		"slide":          fmt.Sprintf("%#x", g.Facts.Slide),
		"panic_message":  g.Facts.PanicMessage,
		"panic_cpu":      g.Facts.PanicCPU,
		"panic_pid":      g.Facts.PanicPID,
		"panic_comm":     g.Facts.PanicComm,
		"taint":          g.Facts.Taint,
		"uptime_seconds": g.Facts.Uptime.Seconds(),
		"call_trace":     g.Facts.CallTrace,
		"threads":        len(g.Facts.Threads),
	}
	if g.Kernel.Vmlinux != "" {
		about["vmlinux"] = g.Kernel.Vmlinux
	}
	if g.Facts.OopsRIP != nil {
		about["oops_rip"] = g.Facts.OopsRIP
	}
	if notices := g.Notices("panic"); len(notices) > 0 {
		about["notice"] = json.RawMessage(notices[0])
	}
	return json.NewEncoder(os.Stdout).Encode(about)
}

// allRegisters returns the registers of every CPU, in hex.
func allRegisters(ctx context.Context, g *guest.Guest) ([]map[string]string, error) {
	var all []map[string]string
	for cpu := range g.Facts.CPUs {
		registers, err := g.Registers(ctx, cpu)
		if err != nil {
			return nil, err
		}
		text := map[string]string{}
		for name, value := range registers {
			text[name] = fmt.Sprintf("%#x", value)
		}
		all = append(all, text)
	}
	return all, nil
}

func writeJSON(file string, content any) error {
	data, err := json.MarshalIndent(content, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}
