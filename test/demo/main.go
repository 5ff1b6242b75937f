// Command demo shows what physgdb is for: a real kernel panics in QEMU; its RAM can be reached through a NetTLP adapter
// alone; gdb prints what the kernel and a user process held at that moment. Beside it stands what the machine itself said
// while it lived. The exit status is 0 if both agree.
//
//	go run ./test/demo -release 6.12 -la57 -pti
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"physgdb/symbols"
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

	g, err := d.panicHost(ctx, c)
	if err != nil {
		return err
	}
	defer g.Close()

	d.chapter("Only its RAM is left, and a PCIe device that reads it: a NetTLP adapter (here in software)")
	d.say("$ physgdb adapter --memory ram --listen %s &", adapterIP)
	adapter, err := d.physgdb.Start(ctx, "adapter at", "adapter", "--memory", g.RAMFile(), "--listen", adapterIP)
	if err != nil {
		return err
	}
	defer adapter.Stop()

	if err := d.backtrace(ctx, g); err != nil {
		return err
	}
	if err := d.kernelSession(ctx, g); err != nil {
		return err
	}
	if err := d.programSession(ctx, g); err != nil {
		return err
	}
	if d.differ > 0 {
		return fmt.Errorf("%d values differ from the witness", d.differ)
	}
	d.chapter("All equal, after %.0f s. Nobody typed an address, a KASLR offset or a CR3.", time.Since(d.begin).Seconds())
	return nil
}

// panicHost boots a host that runs the clock, and lets it panic. Its notices are kept by physgdb notify.
func (d *demo) panicHost(ctx context.Context, c guest.Config) (*guest.Guest, error) {
	if _, err := guest.Prepare(ctx, c.Release, c.Logger); err != nil {
		return nil, err
	}
	d.chapter("A Debian kernel boots in QEMU, with physgdb.ko and a clock process, and panics: that takes some 20 s")
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
	log, err := os.ReadFile(g.SerialLog())
	if err != nil {
		return nil, err
	}
	d.say("the end of its serial console:")
	d.quote(lastLines(string(log), "clock: ", "Kernel panic - not syncing"))
	d.say("notices.jsonl:")
	d.quote(listener.Stdout())
	return g, os.WriteFile(d.notices, []byte(listener.Stdout()), 0o600)
}

// backtrace asks what the machine died of, with no debugger at all.
func (d *demo) backtrace(ctx context.Context, g *guest.Guest) error {
	d.chapter("What did it die of? physgdb knows the RAM and the vmlinux, and nothing else")
	for _, command := range []string{"info", "bt"} {
		d.say("$ physgdb %s '%s' --vmlinux vmlinux", command, source)
		r, err := d.physgdb.Run(ctx, command, source, "--vmlinux", g.Kernel.Vmlinux)
		if err != nil || r.Status != 0 {
			return fmt.Errorf("physgdb %s: status %d, %v: %s", command, r.Status, err, r.Stderr)
		}
		d.say("%s", r.Stdout)
	}
	return nil
}

// kernelSession looks at the kernel, with vmlinux as gdb's main file, and then at the clock beside it.
func (d *demo) kernelSession(ctx context.Context, g *guest.Guest) error {
	d.chapter("gdb on the dead kernel: its tasks are threads")
	d.say("$ physgdb serve '%s' --vmlinux vmlinux &", source)
	stub, address, err := d.physgdb.Serve(ctx, source, "--vmlinux", g.Kernel.Vmlinux)
	if err != nil {
		return err
	}
	defer stub.Stop()
	d.say("$ gdb")
	target := "target remote " + address
	clock := "print 'main.UnixTimeNow'"
	steps, err := session.GDB(ctx, g.Kernel.Vmlinux, target, "info threads 1-4", "bt", "x/s linux_banner",
		"print init_task.comm", "print &init_task", "monitor stats",
		"add-symbol-file "+g.ClockELF(), "monitor cr3 clock", "maint flush dcache", clock)
	if err != nil {
		return err
	}
	d.transcript(g, steps)

	d.chapter("The witness: what the machine itself said while it lived")
	vmlinux, err := symbols.ReadELF(g.Kernel.Vmlinux)
	if err != nil {
		return err
	}
	text, _ := vmlinux.Lookup("_text")
	slide := g.Facts.Kallsyms["_text"] - text.Addr
	d.compare("Call Trace", strings.Join(session.Trace(session.Find(steps, "bt"), vmlinux, slide), " < "),
		strings.Join(session.TrimTrace(g.Facts.CallTrace), " < "))
	d.compare("kernel release", between(session.Find(steps, "x/s linux_banner"), "Linux version ", " "), g.Facts.Release)
	d.compare("init_task", between(session.Find(steps, "print &init_task"), "0x", " "),
		fmt.Sprintf("%x", g.Facts.Kallsyms["init_task"]))
	d.compare("name of task 0", between(session.Find(steps, "print init_task.comm"), `"`, `\`), "swapper/0")
	d.compare("clock's time", session.Value(session.Find(steps, clock)), fmt.Sprint(g.Facts.LastClock))
	return nil
}

// programSession looks at the clock alone, with its own ELF as gdb's main file.
func (d *demo) programSession(ctx context.Context, g *guest.Guest) error {
	d.chapter("gdb on the clock process of the dead host")
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
	d.chapter("The witness")
	d.compare("clock's time", session.Value(session.Find(steps, clock)), fmt.Sprint(g.Facts.LastClock))
	return nil
}

func (d *demo) chapter(format string, args ...any) { fmt.Printf("\n=== "+format+"\n\n", args...) }

func (d *demo) say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// transcript shows a gdb session, with short names for the files.
func (d *demo) transcript(g *guest.Guest, steps []session.Step) {
	text := session.Transcript(steps)
	for _, path := range []string{g.Kernel.Vmlinux, g.ClockELF()} {
		text = strings.ReplaceAll(text, path, filepath.Base(path))
	}
	fmt.Print(text)
}

func (d *demo) quote(text string) {
	for line := range strings.Lines(text) {
		fmt.Print("  | ", line)
	}
}

// compare shows what gdb said beside what the witness says.
func (d *demo) compare(what, gdb, witness string) {
	verdict := "equal"
	if gdb != witness || witness == "" {
		verdict = "DIFFERENT"
		d.differ++
	}
	fmt.Printf("%-16s gdb: %s\n%-16s log: %s\n%-16s      %s\n", what, gdb, "", witness, "", verdict)
}

// between returns what stands between two strings, or "".
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
