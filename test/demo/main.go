// Command demo shows what physgdb does. A real kernel panics in QEMU; its RAM is reachable only
// through a NetTLP adapter, and there is no vmlinux. gdb, started without any file, prints values
// of the kernel and of a user process at that moment, and the demo compares them with what the
// machine reported while it was running. The exit status is 0 if all are equal.
//
//	go run ./test/demo -release 6.12 -la57 -pti
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"physgdb/test/guest"
	"physgdb/test/session"
)

// Where the two ends of the NetTLP link are: each needs an address of its own.
const (
	adapterIP = "127.0.0.2"
	clientIP  = "127.0.0.3"
	source    = "nettlp://" + adapterIP + "?local=" + clientIP + "&requester=01:00"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := guest.Config{Logger: hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Name: "demo", DisableTime: true})}
	bin := flag.String("physgdb", "bin/physgdb", "the physgdb `command`")
	flag.StringVar(&c.Release, "release", "6.1", "kernel `series`: 6.1 or 6.12")
	flag.BoolVar(&c.LA57, "la57", false, "5-level paging")
	flag.BoolVar(&c.PTI, "pti", false, "page-table isolation")
	flag.Parse()
	d := &demo{physgdb: session.Physgdb(*bin), begin: time.Now()}
	if err := d.run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is one run.
type demo struct {
	physgdb session.Physgdb
	begin   time.Time
	notices string // file
	differ  int    // things that gdb showed and the witness did not say
}

func (d *demo) run(ctx context.Context, c guest.Config) error {
	dir, err := os.MkdirTemp("", "physgdb-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c.Dir = dir
	d.notices = filepath.Join(dir, "notices.jsonl")
	if err := d.useEmptyCache(dir); err != nil {
		return err
	}

	g, err := d.panicTarget(ctx, c)
	if err != nil {
		return err
	}
	defer g.Close()

	d.chapter("Its RAM is read through a PCIe device, a NetTLP adapter (here in software)")
	d.say("$ physgdb adapter --memory ram --listen %s &", adapterIP)
	adapter, err := d.physgdb.Start(ctx, "adapter at", "adapter", "--memory", g.RAMFile(), "--listen", adapterIP)
	if err != nil {
		return err
	}
	defer adapter.Stop()

	for _, session := range []func(context.Context, *guest.Guest) error{d.panicSummary, d.kernelSession, d.programSession} {
		if err := session(ctx, g); err != nil {
			return err
		}
	}
	if d.differ > 0 {
		return fmt.Errorf("%d values differ from what the machine reported", d.differ)
	}
	d.chapter("All values are equal, after %.0f s, without a vmlinux and without an address, a KASLR offset or a CR3 as input.",
		time.Since(d.begin).Seconds())
	return nil
}

// useEmptyCache runs physgdb from dir, because its cache is next to its binary, see package
// session.
func (d *demo) useEmptyCache(dir string) error {
	bin, err := filepath.Abs(string(d.physgdb))
	if err != nil {
		return err
	}
	if _, err := os.Stat(bin); err != nil {
		return fmt.Errorf("%w; make build makes it", err)
	}
	d.physgdb = session.Physgdb(filepath.Join(dir, "physgdb"))
	return os.Symlink(bin, string(d.physgdb))
}

// panicTarget boots a machine that runs the clock process and panics. physgdb notify records its
// notices.
func (d *demo) panicTarget(ctx context.Context, c guest.Config) (*guest.Guest, error) {
	c.NoDebug = true
	if _, err := guest.PrepareWithoutDebug(ctx, c.Release, c.Logger); err != nil {
		return nil, err
	}
	d.chapter("A Debian kernel boots in QEMU, with physgdb.ko and a clock process, and panics; this takes about 20 s")
	d.say("$ physgdb notify --listen udp://127.0.0.1:0 > notices.jsonl &")
	listener, err := d.physgdb.Start(ctx, "listening for notices", "notify", "--listen", "udp://127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer listener.Stop()
	if _, err := fmt.Sscanf(listener.Ready, "physgdb: listening for notices on udp://127.0.0.1:%d", &c.NoticePort); err != nil {
		return nil, fmt.Errorf("%q: %w", listener.Ready, err)
	}
	g, err := guest.Boot(ctx, c)
	if err != nil {
		return nil, err
	}
	if err = awaitNotice(ctx, listener); err == nil {
		err = d.showMessages(g, listener.Stdout())
	}
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// awaitNotice waits for the notice of the panic, which may still be on its way.
func awaitNotice(ctx context.Context, listener *session.Service) error {
	const maxWait, pause = 10 * time.Second, 10 * time.Millisecond
	for range maxWait / pause {
		if strings.Contains(listener.Stdout(), `"event":"panic"`) {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		time.Sleep(pause)
	}
	return fmt.Errorf("no notice of the panic in %v", maxWait)
}

// showMessages prints the last messages of the machine and writes its notices to a file.
func (d *demo) showMessages(g *guest.Guest, notices string) error {
	log, err := os.ReadFile(g.SerialLog())
	if err != nil {
		return err
	}
	d.say("the end of its serial console:")
	d.quote(lastLines(string(log), "clock: ", "Kernel panic - not syncing"))
	d.say("notices.jsonl:")
	d.quote(notices)
	return os.WriteFile(d.notices, []byte(notices), 0o600)
}

// fromRAM makes physgdb use no vmlinux even if one is installed.
const fromRAM = "--symbols=ram"

// panicSummary shows the cause of the panic, without a debugger.
func (d *demo) panicSummary(ctx context.Context, g *guest.Guest) error {
	d.chapter("The cause of the panic, from RAM alone: no vmlinux, no debug package")
	info, err := d.ask(ctx, "info")
	if err != nil {
		return err
	}
	bt, err := d.ask(ctx, "bt")
	if err != nil {
		return err
	}
	d.chapter("Comparison with what the machine reported while it was running, and with its log")
	d.compare("physgdb", "KASLR offset", between(info, "\nslide      ", "\n"), fmt.Sprintf("%#x", g.Facts.Slide))
	d.compare("physgdb", "died of", between(info, "\ndied of    panicked: ", ";"), g.Facts.PanicMessage)
	d.compare("physgdb", "Call Trace", arrows(session.PrintedByPhysgdb(bt)), arrows(session.TrimTrace(g.Facts.CallTrace)))
	return nil
}

// ask runs a command and prints its output.
func (d *demo) ask(ctx context.Context, command string) (string, error) {
	d.say("$ physgdb %s '%s' %s", command, source, fromRAM)
	r, err := d.physgdb.Run(ctx, command, source, fromRAM)
	if err != nil || r.Status != 0 {
		return "", fmt.Errorf("physgdb %s: status %d, %v: %s", command, r.Status, err, r.Stderr)
	}
	d.say("%s%s", r.Stdout, r.Stderr)
	return r.Stdout, nil
}

// kernelSession examines the kernel with a gdb that has no file, then one of its modules, and the
// clock process.
func (d *demo) kernelSession(ctx context.Context, g *guest.Guest) error {
	d.chapter("gdb on the dead kernel, without any file: names, types and unwind tables come from its memory")
	d.say("$ physgdb serve '%s' %s &", source, fromRAM)
	stub, address, err := d.physgdb.Serve(ctx, source, fromRAM)
	if err != nil {
		return err
	}
	defer stub.Stop()
	d.say("$ gdb")
	const (
		threads = "info threads 1-4"
		module  = "print ((struct virtio_driver *)&virtio_net_driver)->driver.owner"
		program = "monitor ps clock"
		clock   = "print 'main.UnixTimeNow'"
	)
	steps, err := session.GDB(ctx, "", "target remote "+address, "print init_task.comm", "print &init_task", "bt", threads,
		"ptype struct list_head", "x/s linux_banner", module, program, "monitor stats",
		"add-symbol-file "+g.ClockELF(), "monitor cr3 clock", "maint flush dcache", clock)
	if err != nil {
		return err
	}
	d.transcript(g, steps)

	d.chapter("Comparison with what the machine reported")
	output := func(command string) string { return session.Find(steps, command) }
	d.compare("gdb", "name of task 0", between(output("print init_task.comm"), `"`, `\`), "swapper/0")
	d.compare("gdb", "init_task", between(output("print &init_task"), ") ", " "), fmt.Sprintf("%#x", g.Facts.Kallsyms["init_task"]))
	d.compare("gdb", "Call Trace", arrows(session.PrintedByGDB(output("bt"))), arrows(session.TrimTrace(g.Facts.CallTrace)))
	d.compare("gdb", "died of", between(output(threads), "(panicked: ", "; on CPU"), g.Facts.PanicMessage)
	d.compare("gdb", "kernel release", between(output("x/s linux_banner"), "Linux version ", " "), g.Facts.Release)
	d.compare("gdb", "virtio_net", between(output(module), ") ", " "),
		fmt.Sprintf("%#x", g.Facts.ModuleSections["virtio_net"][".gnu.linkonce.this_module"]))
	d.compare("gdb", "clock's threads", tasks(output(program)), clockThreads(g))
	d.compare("gdb", "clock's time", session.Value(output(clock)), fmt.Sprint(g.Facts.LastClock))
	return nil
}

// tasks returns the process and the thread of each line of ps.
func tasks(ps string) string {
	var all []string
	for line := range strings.Lines(ps) {
		if words := strings.Fields(line); len(words) > 2 && words[0] != "PID" {
			all = append(all, words[0]+"."+words[1])
		}
	}
	return strings.Join(all, " ")
}

// clockThreads returns the same from /proc.
func clockThreads(g *guest.Guest) string {
	var all []string
	for _, t := range g.Facts.Threads {
		if t.PID == g.Facts.ClockPID {
			all = append(all, fmt.Sprintf("%d.%d", t.PID, t.TID))
		}
	}
	return strings.Join(all, " ")
}

// arrows returns a trace on one line, innermost first.
func arrows(trace []string) string { return strings.Join(trace, " < ") }

// programSession examines the clock process alone, with its own ELF as gdb's main file.
func (d *demo) programSession(ctx context.Context, g *guest.Guest) error {
	d.chapter("gdb on the clock process alone")
	d.say("$ physgdb serve '%s' --notify notices.jsonl --cr3 hello:clock &", source)
	stub, address, err := d.physgdb.Serve(ctx, source, "--notify", d.notices, "--cr3", "hello:clock")
	if err != nil {
		return err
	}
	defer stub.Stop()
	d.say("$ gdb")
	clock := "print 'main.UnixTimeNow'"
	steps, err := session.GDB(ctx, g.ClockELF(), "target remote "+address, clock, "print 'main.Last'")
	if err != nil {
		return err
	}
	d.transcript(g, steps)
	d.chapter("Comparison with what the machine reported")
	d.compare("gdb", "clock's time", session.Value(session.Find(steps, clock)), fmt.Sprint(g.Facts.LastClock))
	return nil
}

func (d *demo) chapter(format string, args ...any) { fmt.Printf("\n=== "+format+"\n\n", args...) }

func (d *demo) say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// transcript prints a gdb session, with a short name for the program and without a line for each
// file that gdb fetches.
func (d *demo) transcript(g *guest.Guest, steps []session.Step) {
	text := strings.ReplaceAll(session.Transcript(steps), g.ClockELF(), filepath.Base(g.ClockELF()))
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "Reading /from-memory/") {
			fmt.Print(line)
		}
	}
}

func (d *demo) quote(text string) {
	for line := range strings.Lines(text) {
		fmt.Print("  | ", line)
	}
}

// compare prints a value next to the expected one.
func (d *demo) compare(program, what, got, want string) {
	verdict := "equal"
	if got != want || want == "" {
		verdict = "DIFFERENT"
		d.differ++
	}
	fmt.Printf("%-16s %8s: %s\n%-16s %8s: %s\n%-16s           %s\n", what, program, got, "", "machine", want, "", verdict)
}

// between returns the text between two strings, or "".
func between(s, before, after string) string {
	_, s, _ = strings.Cut(s, before)
	s, _, ok := strings.Cut(s, after)
	if !ok {
		return ""
	}
	return s
}

// lastLines returns the last line that contains each of some words.
func lastLines(log string, words ...string) string {
	var found string
	for _, word := range words {
		last := ""
		for line := range strings.Lines(log) {
			if strings.Contains(line, word) {
				last = line
			}
		}
		found += last
	}
	return found
}
