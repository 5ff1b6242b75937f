// Package host puts the pieces together: it opens a bridge to a dead machine's memory, hears what the machine said, finds
// its kernel, and shows all that to people (text) and to debuggers (a [gdbstub.Target]).
package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"physgdb/bridge"
	"physgdb/bridge/dump"
	"physgdb/bridge/nettlp"
	"physgdb/bridge/notify"
	"physgdb/internal/regular"
	"physgdb/mmu"
	"physgdb/symbols/linux"
)

// cacheSize is how much of a dead host's memory is remembered where each read costs a round trip, in bytes.
const cacheSize = 64 << 20

// Options are what the user said about a machine. See the flags of the command for their meaning.
type Options struct {
	Source  string // URL of the memory, or a path
	CR3     string // hexadecimal, hello:NAME, or empty
	Notify  string // where notices come from, or empty
	Vmlinux string // path, or empty
	// Symbols say where names and types come from if not from Vmlinux: SymbolsAuto, SymbolsRAM or SymbolsNone; empty for
	// SymbolsAuto.
	Symbols string
	// TrustBuildID uses what was kept of a kernel of the same build-id without comparing it with memory.
	TrustBuildID bool
	// CacheLimit bounds what is kept for the next time, in bytes; 0 for [kept.DefaultLimit].
	CacheLimit int64
	// DebugDirs are directories with vmlinuxes of several kernels, beside the usual places.
	DebugDirs []string
	RAM       string // path of a RAM map, or empty
	// VMCoreInfo is the physical address of the VMCOREINFO note, hexadecimal, or empty.
	VMCoreInfo string
	Threads    string        // what a debugger's threads stand for: ThreadsTasks, or ThreadsCPUs; empty for tasks
	Modules    []string      // directories with the files of loaded modules, beside the usual places
	Live       bool          // the machine runs: nothing is remembered for longer than one look at it
	Timeout    time.Duration // for one request to the bridge; 0 for the bridge's own
	Log        hclog.Logger  // nil for silence
	quick      bool          // do not look through all of RAM
	Notes      io.Writer     // where to say what is being waited for; nil for silence
}

// Memory is the physical memory of a machine, safely wrapped: [bridge.Cache], where it pays, around [bridge.Guard] around
// [bridge.Meter] around the bridge.
type Memory struct {
	bridge.Memory
	source  bridge.Memory // the bridge itself
	guard   *bridge.Guard
	meter   *bridge.Meter
	ramFrom string // who says where RAM is; empty if nobody does
	cached  bool   // what was read once is remembered
	byUser  bridge.RAMMap
	layout  string // that was found to fit, as the map= of a source; empty if the source's own holds
}

// Who said where RAM is: the user, or the source itself.
const (
	ramByUser      = "by --ram"
	ramAllOfSource = "all of the source"
)

// Counts returns what the memory cost so far.
func (m *Memory) Counts() bridge.Counts { return m.meter.Counts() }

// uncounted says which reads Counts leaves out, or nothing.
func (m *Memory) uncounted() string {
	if m.cached {
		return ""
	}
	return "; what is read in place, in a mapped file, is not counted"
}

// View shows memory in place where the bridge can.
func (m *Memory) View(addr bridge.PhysAddr, n int) ([]byte, bool) {
	if v := bridge.ViewerOf(m.Memory); v != nil {
		return v.View(addr, n)
	}
	return nil, false
}

// OpenMemory opens the source and, if there is one, the RAM map.
func OpenMemory(ctx context.Context, o *Options) (*Memory, error) {
	var ram bridge.RAMMap
	if o.RAM != "" {
		var err error
		if ram, err = readRAMMap(o.RAM); err != nil {
			return nil, err
		}
	}
	mem, err := openSource(ctx, o)
	if err != nil {
		return nil, err
	}
	if ram.Known() && mem.Info().RAM.Known() && !mem.Info().RAM.Intersect(ram).Known() {
		mem.Close()
		return nil, fmt.Errorf("--ram %s: none of it is in %s, which has %v; is it the map of this machine?", o.RAM, o.Source,
			mem.Info().RAM)
	}
	return wrap(mem, ram), nil
}

// wrap makes a bridge safe to read, and quick. ram may be unknown.
func wrap(mem bridge.Memory, ram bridge.RAMMap) *Memory {
	m := &Memory{source: mem, meter: bridge.NewMeter(mem)}
	m.guard, m.byUser = bridge.NewGuard(m.meter, ram), ram
	switch {
	case ram.Known():
		m.ramFrom = ramByUser
	case mem.Info().RAM.Known():
		m.ramFrom = ramAllOfSource
	}
	if bridge.ViewerOf(mem) != nil {
		m.Memory = m.guard
	} else {
		m.Memory, m.cached = bridge.NewCache(m.guard, cacheSize), true
	}
	return m
}

func openSource(ctx context.Context, o *Options) (bridge.Memory, error) {
	if o.Source == "" {
		return nil, usagef("SOURCE is empty: %s", sourceForms)
	}
	openers := map[string]bridge.Opener{"file": dump.Open, "nettlp": nettlp.Open}
	mem, err := bridge.Open(ctx, o.Source, openers, &bridge.Options{Timeout: o.Timeout, Logger: o.Log})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("source %s: no such file; %s", o.Source, sourceForms)
	}
	if why := reason(err); why != err {
		return nil, fmt.Errorf("source %s: %w", o.Source, why)
	}
	return mem, err
}

// sourceForms reminds of what a source may be.
const sourceForms = "want a path, or a URL such as nettlp://ADDRESS?local=ADDRESS&requester=BUS:DEV"

// reason returns why a file could not be read, without its name, which whoever reports it tells. Any other error it
// returns as it is.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func readRAMMap(path string) (bridge.RAMMap, error) {
	f, err := regular.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--ram %s: %w", path, reason(err))
	}
	defer f.Close()
	ram, err := bridge.ParseRAMMap(f)
	if err != nil {
		return nil, fmt.Errorf("--ram %s: %w", path, reason(err))
	}
	return ram, nil
}

// Machine is a dead machine whose kernel was found.
type Machine struct {
	Memory *Memory
	Kernel *linux.Kernel
	// Notice is what the machine said as it panicked, or nil.
	Notice *notify.Notice
	// Hellos are what programs of the machine said before, by the name of the task, or by its pid if it told no name.
	Hellos map[string]*notify.Notice
	// Space is the address space that the user asked for: that of a process (see Process), or the kernel's.
	Space *mmu.Space
	// Process names the process whose address space Space is, or is empty.
	Process string

	beside     *neighbour // the other kernel in the same memory, as far as it was looked for
	cpus       []int
	live       bool          // it runs
	chosen     bool          // the user said which CR3 to look at memory through
	foundIn    bridge.Counts // what it took to find the kernel
	threadsAre string
	files      *linux.ModuleFiles // of the kernel's modules, on the disk of this machine
	moduleDirs []string           // that the user named
	cacheLimit int64              // bytes, as in Options
	vmlinux    *vmlinuxFile       // nil if there is none
	noVmlinux  error              // why there is none
	made       *spool             // files of modules, made of memory
	ahead      background         // what a debugger asks for first
	log        hclog.Logger
	notes      io.Writer // where to say how far long work is; nil for silence
}

// helloPrefix before a name stands for the CR3 that the program of this name told.
const helloPrefix = "hello:"

// Attach opens the memory of a machine and finds its kernel. It waits for the machine's notice if it is told to.
func Attach(ctx context.Context, o *Options) (*Machine, error) {
	if err := o.checkCR3(); err != nil {
		return nil, err
	}
	if err := cmp.Or(checkDirs("--modules", o.Modules), checkDirs("--debug-dir", o.DebugDirs)); err != nil {
		return nil, err
	}
	given, err := o.openVmlinux()
	if err != nil {
		return nil, err
	}
	mem, err := OpenMemory(ctx, o)
	if err != nil {
		return nil, err
	}
	m := &Machine{
		Memory: mem, live: o.Live, chosen: o.CR3 != "", threadsAre: o.Threads, vmlinux: given,
		moduleDirs: o.Modules, cacheLimit: o.CacheLimit, made: newSpool(), log: o.logger(), notes: o.Notes,
	}
	if err := m.attach(ctx, o); err != nil {
		m.Memory.Close()
		return nil, err
	}
	return m, nil
}

// checkDirs says which directory of an option cannot be read.
func checkDirs(option string, dirs []string) error {
	for _, dir := range dirs {
		if _, err := os.ReadDir(dir); err != nil {
			return fmt.Errorf("%s %s: %w", option, dir, reason(err))
		}
	}
	return nil
}

// logger returns the log, which is never nil.
func (o *Options) logger() hclog.Logger {
	if o.Log == nil {
		return hclog.NewNullLogger()
	}
	return o.Log
}

// checkCR3 says early what is wrong with where to start from: it may take days until the notice comes that it is wanted
// for.
func (o *Options) checkCR3() error {
	name, isHello := strings.CutPrefix(o.CR3, helloPrefix)
	if _, err := bridge.ParseAddr(o.VMCoreInfo); o.VMCoreInfo != "" && err != nil {
		return usagef("--vmcoreinfo %s: not a hexadecimal number", o.VMCoreInfo)
	}
	switch {
	case o.CR3 != "" && o.VMCoreInfo != "":
		return usagef("--cr3 and --vmcoreinfo exclude each other: either is where to start from")
	case isHello && name == "":
		return usagef("--cr3 %s: the name of a program is missing", o.CR3)
	case isHello && o.Notify == "":
		return usagef("--cr3 %s needs --notify: the name is known from the host's notices", o.CR3)
	case isHello || o.CR3 == "":
		return nil
	}
	if _, err := bridge.ParseAddr(o.CR3); err != nil {
		return usagef("--cr3 %s: neither a hexadecimal number nor %sNAME", o.CR3, helloPrefix)
	}
	return nil
}

func (m *Machine) attach(ctx context.Context, o *Options) error {
	if o.Notify != "" {
		if err := m.hear(ctx, o); err != nil {
			return err
		}
	}
	if err := m.checkNotBlank(ctx, o); err != nil {
		return err
	}
	stop := m.doubtVMCoreInfo(ctx, o)
	err := m.settle(ctx, o)
	stop()
	if err != nil {
		return err
	}
	m.learnRAM(ctx)
	m.findCPUs(ctx)
	if m.Kernel.Symbols != nil {
		m.files = linux.NewModuleFiles(m.release(ctx), m.moduleDirs)
	}
	return nil
}

// chosenCR3 finds the CR3 that the user meant by a number or a name.
func (m *Machine) chosenCR3(what string) (uint64, error) {
	if name, ok := strings.CutPrefix(what, helloPrefix); ok {
		n, err := m.hello(name)
		if err != nil {
			return 0, err
		}
		m.Process = name
		return uint64(n.CR3), nil
	}
	cr3, err := bridge.ParseAddr(what)
	return uint64(cr3), err
}

// cr4LA57 is the bit of CR4 that turns 5-level paging on (Intel SDM vol. 3A, 2.5).
const cr4LA57 = 1 << 12

// levels returns how many levels the page tables have by what the machine said, or 0.
func (m *Machine) levels() int {
	switch {
	case m.Notice == nil || m.Notice.CR4 == nil:
		return 0
	case *m.Notice.CR4&cr4LA57 != 0:
		return 5
	}
	return 4
}

// findCPUs learns which CPUs the machine has, as far as that can be known; it has at least the one that panicked.
func (m *Machine) findCPUs(ctx context.Context) {
	const most = 8192 // the largest NR_CPUS of x86-64; a notice from the network may claim any number
	first := 0
	if m.Notice != nil && m.Notice.CPU != nil && *m.Notice.CPU >= 0 && *m.Notice.CPU < most {
		first = *m.Notice.CPU
	}
	m.cpus = []int{first}
	if m.Kernel.Symbols == nil {
		return
	}
	cpus, err := m.Kernel.PossibleCPUs(ctx)
	if err != nil {
		m.log.Warn("the list of CPUs cannot be read; only one is shown", "why", err)
	}
	for _, cpu := range cpus {
		if cpu != first {
			m.cpus = append(m.cpus, cpu)
		}
	}
}

// explainedBy returns the machine as a debugger's vmlinux explains it, which found symbols at these addresses.
func (m *Machine) explainedBy(ctx context.Context, found map[string]uint64) (*Machine, error) {
	known, mem := *m, *m.Memory
	known.Memory = &mem
	var err error
	if known.Kernel, err = m.Kernel.WithSymbols(ctx, found); err != nil {
		return nil, err
	}
	known.learnRAM(ctx)
	known.findCPUs(ctx)
	known.files = linux.NewModuleFiles(known.release(ctx), m.moduleDirs)
	return &known, nil
}

// Close closes the bridge.
func (m *Machine) Close() error {
	m.ahead.stop()
	return errors.Join(m.vmlinux.close(), m.made.close(), m.Memory.Close())
}
