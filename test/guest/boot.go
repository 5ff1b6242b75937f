package guest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Config describes the guest to boot. The zero values of all members but Release are defaults.
type Config struct {
	// Release is the kernel series, such as "6.1", or [Newest].
	Release string
	// Flavour is "cloud" (also ""), "generic" or "rt".
	Flavour string
	// Kernel is a kernel to boot instead of the one of a series, see [PrepareCustom]; nil
	// for none.
	Kernel *Kernel
	// NoDebug skips the kernel's debug package, see [PrepareWithoutDebug].
	NoDebug bool
	// LA57 gives 5-level paging, else 4-level.
	LA57 bool
	// PTI gives every process a second page table for user mode (pti=on), else nopti.
	PTI bool
	// MemoryMiB is the size of RAM; 512 if 0.
	MemoryMiB int
	// Nodes is the number of NUMA nodes, each with a file of its own; 0 means no NUMA.
	Nodes int
	// CPUs is the number of CPUs; 2 if 0.
	CPUs int
	// Panic is the cause of the panic:
	//
	//	sysrq     the default: /proc/sysrq-trigger
	//	exit      the end of process 1
	//	oops      a NULL pointer, followed by trouble.ko in a system call
	//	wild      a call of address 0x1234, followed by trouble.ko in a system call
	//	wild-far  the same with an address that is not canonical
	//	wild-data the same with the address of data
	//	bug       BUG() there
	//	hung      khungtaskd finds a process that trouble.ko lets sleep for ever
	//	irq       panic() in a timer's interrupt over the idle task
	//	irq-user  panic() in a timer's interrupt over user code, a process spinner
	//	nmi       panic() in a system call while the other CPU takes no interrupts: an NMI stops it
	//	chain     the last of the Modules calls the one before it, and so on; the first panics
	//	kdump     as sysrq, with a capture kernel loaded: it runs when Boot returns, see [Facts.Capture]
	//	kexec     not at all: the kernel starts another by kexec, see [Facts.Before], and that is stopped while it runs
	//	kprobe    panic() in the handler of a kprobe at the entry of a function of instrumented.ko
	//	livepatch panic() in a function of instrumented.ko, by a live patch in the place of version_proc_show()
	//	none      not at all: Boot then returns a running guest
	//
	// By trouble.ko, or if Other is set, the last CPU panics; else it may be any.
	Panic string
	// Instrument lists features that change stacks:
	//
	//	graph      the function_graph tracer is on
	//	kretprobe  a kretprobe on the system call in which the processes sleeper wait, and on two below sysrq
	//	fexit      a BPF program on the exit of vfs_write
	//	sleepable  a process faulter is asleep in a BPF program
	//	module     instrumented.ko is loaded; Panic kprobe and livepatch need it
	Instrument []string
	// Other is the work of CPUs that do not panic: "idle" (the default, usually true) or "user":
	// each runs a process spinner in user mode, see [SpinnerRegisters].
	Other string
	// Threads gives the guest a process crowd with so many threads, the first of them named crowd,
	// the others crowd-1, crowd-2 and so on, each asleep in a system call.
	Threads int
	// Modules is the number of modules dummy_000, dummy_001 and so on, besides the others.
	Modules int
	// Full makes the guest report everything that it can about itself: see [Guest.AllKallsyms] and
	// [Guest.Stacks].
	Full bool
	// Cmdline is added to the kernel command line.
	Cmdline string
	// Dir is an existing directory for the guest's files, RAM among them; "" for a temporary one.
	Dir string
	// NoticePort is the UDP port on 127.0.0.1 of another listener for notices. If it is 0, the
	// guest's notices are collected, see [Guest.Notices].
	NoticePort int
	// Logger receives progress messages; nil means none.
	Logger hclog.Logger
}

// maxRun is the time limit for a guest from power-on to its end if the context has no deadline. It
// takes 15 s on an idle machine.
const maxRun = 5 * time.Minute

// errEarly is the error for a guest that panicked by itself while it booted.
var errEarly = errors.New("the guest panicked before it was asked to")

// maxBoots is the number of attempts for a guest that panics early, which happens now and then in
// software emulation on a busy computer.
const maxBoots = 3

// Boot boots a guest, waits until it has panicked, and freezes it. The guest must be closed.
func Boot(ctx context.Context, c Config) (*Guest, error) {
	c = c.withDefaults()
	k, err := c.kernel(ctx)
	if err != nil {
		return nil, err
	}
	if k.Trouble == "" && c.needsTrouble() {
		return nil, fmt.Errorf("boot guest %s: panic %q needs trouble.ko, which could not be built for this kernel", k.Release, c.Panic)
	}
	for boots := 1; ; boots++ {
		g := &Guest{Kernel: k, config: c, dir: c.Dir}
		err := g.boot(ctx)
		if err == nil {
			return g, nil
		}
		text := g.evidence()
		if closeErr := g.Close(); !errors.Is(err, errEarly) || boots == maxBoots || closeErr != nil {
			return nil, errors.Join(fmt.Errorf("boot guest %s: %w%s", k.Release, err, text), closeErr)
		}
		c.Logger.Warn("the guest died early and is booted again" + text)
	}
}

// kernel returns the kernel to boot.
func (c Config) kernel(ctx context.Context) (*Kernel, error) {
	if c.Kernel != nil {
		return c.Kernel, nil
	}
	return PrepareKernel(ctx, Wanted{Series: c.Release, Flavour: c.Flavour, NoDebug: c.NoDebug}, c.Logger)
}

func (c Config) withDefaults() Config {
	c.MemoryMiB = cmp.Or(c.MemoryMiB, 512)
	c.CPUs = cmp.Or(c.CPUs, 2)
	c.Panic = cmp.Or(c.Panic, "sysrq")
	c.Other = cmp.Or(c.Other, "idle")
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return c
}

// needsTrouble reports whether the panic requires trouble.ko.
func (c Config) needsTrouble() bool {
	return !slices.Contains([]string{"sysrq", "exit", "kdump", "kexec", "none"}, c.Panic)
}

// startsSecond reports whether the guest's kernel starts another one.
func (c *Config) startsSecond() bool { return c.Panic == "kdump" || c.Panic == "kexec" }

func (g *Guest) boot(ctx context.Context) error {
	if err := g.makeFiles(ctx); err != nil {
		return err
	}
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, maxRun, fmt.Errorf("the guest did not reach its end in %v", maxRun))
		defer cancel()
	}
	port := g.config.NoticePort
	if port == 0 {
		var err error
		if g.collector, err = newCollector(); err != nil {
			return err
		}
		port = g.collector.port()
	}
	g.config.Logger.Info("booting "+g.Kernel.Release, "panic", g.config.Panic, "notices", port, "dir", g.dir)
	if err := g.startQEMU(ctx, port); err != nil {
		return err
	}
	if err := g.awaitEnd(ctx); err != nil {
		return err
	}
	if g.config.Panic != "none" {
		if _, err := g.QMP(ctx, "stop", nil); err != nil {
			return err
		}
	}
	return g.gatherFacts()
}

// makeFiles creates the files that the guest boots from.
func (g *Guest) makeFiles(ctx context.Context) error {
	if g.dir == "" {
		dir, err := os.MkdirTemp("", "physgdb-guest-")
		if err != nil {
			return fmt.Errorf("make a directory for the guest: %w", err)
		}
		g.dir, g.ownsDir = dir, true
	}
	var err error
	if g.dir, err = filepath.Abs(g.dir); err != nil {
		return fmt.Errorf("find the guest's directory: %w", err)
	}
	if err := buildPrograms(ctx, g.dir); err != nil {
		return err
	}
	if err := writeInitramfs(g.path("initramfs"), g.Kernel, g.dir); err != nil {
		return err
	}
	if g.config.startsSecond() {
		return addSecondKernel(g.path("initramfs"), g.Kernel.Vmlinuz)
	}
	return nil
}

// awaitEnd waits for the guest to panic, or to be up if it is to stay alive.
func (g *Guest) awaitEnd(ctx context.Context) error {
	for {
		done, err := g.ended()
		if err != nil {
			return err
		}
		if done {
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-g.qemuExited:
			return errors.New("QEMU has ended")
		case <-time.After(50 * time.Millisecond):
		}
	}
	if g.collector != nil && g.Kernel.Module != "" && g.config.Panic != "none" && !g.config.startsSecond() {
		g.collector.await(ctx, "panic", noticeCopies)
	}
	return nil
}

// noticeCopies is the number of copies of a notice that physgdb.ko sends.
const noticeCopies = 3

// ended reports whether the guest has reached its end.
func (g *Guest) ended() (bool, error) {
	// The log first: it then contains everything that the guest printed before it panicked.
	log, err := os.ReadFile(g.SerialLog())
	if err != nil {
		return false, err
	}
	said, err := readWitness(g.path(witnessFile))
	if err != nil {
		return false, err
	}
	if said.failure != "" {
		return false, fmt.Errorf("the guest's init: %s", said.failure)
	}
	switch up := said.facts != nil && said.lastClock != 0; g.config.Panic {
	case "none":
		return up, nil
	case "kexec":
		return up && said.before != nil, nil
	case "kdump":
		return said.capture != nil, nil
	}
	if !panicked(string(log)) {
		return false, nil
	}
	if said.panic == "" {
		return false, errEarly
	}
	return true, nil
}

// evidence returns the last lines of the log of a guest that failed.
func (g *Guest) evidence() string {
	text := ""
	for _, name := range []string{serialFile, qemuLog} {
		if data, err := os.ReadFile(g.path(name)); err == nil && len(data) > 0 {
			text += fmt.Sprintf("\n--- the end of its %s:\n%s", filepath.Base(name), lastLines(string(data), 15))
		}
	}
	return text
}
