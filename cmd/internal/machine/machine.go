// Package machine opens the memory of a machine, waits for its notices, finds its kernel, and
// chooses where the kernel's names and types come from.
package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"physgdb/bridge"
	"physgdb/bridge/notify"
	"physgdb/mmu"
	"physgdb/symbols/debuginfo"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/unwind"
)

// Options are what the user said about a machine. See the flags of the command for their meaning.
type Options struct {
	Source  string // URL of the memory, or a path
	CR3     string // hexadecimal, hello:NAME, or empty
	Notify  string // where notices come from, or empty
	Vmlinux string // path, or empty
	// Symbols say where names and types come from if not from Vmlinux: SymbolsAuto, SymbolsRAM or
	// SymbolsNone; empty for SymbolsAuto.
	Symbols string
	// SymbolFile makes a symbol file from the kernel's memory if no vmlinux is found: debuggers
	// need a file, other commands do not.
	SymbolFile bool
	// Synthetic makes a symbol file from the target's memory although Vmlinux is set, which then
	// only helps to find the kernel.
	Synthetic bool
	// TrustBuildID uses what was kept of a kernel of the same build-id without comparing it with
	// memory.
	TrustBuildID bool
	// CacheLimit bounds what is kept for the next time, in bytes; 0 for [kept.DefaultLimit].
	CacheLimit int64
	// DebugDirs are directories with vmlinuxes of several kernels, in addition to the usual places.
	DebugDirs []string
	RAM       string // path of a RAM map, or empty
	// VMCoreInfo is the physical address of the VMCOREINFO note, hexadecimal, or empty.
	VMCoreInfo string
	Modules    []string      // directories with the files of loaded modules, in addition to the usual places
	Live       bool          // the machine runs: nothing is remembered for longer than one look at it
	Timeout    time.Duration // for one request to the bridge; 0 for the bridge's own
	Log        hclog.Logger  // nil for silence
	quick      bool          // do not look through all of RAM
	Notes      io.Writer     // where to say what is being waited for; nil for silence
}

// Machine is a dead machine whose kernel was found.
type Machine struct {
	Memory *Memory
	Kernel *linux.Kernel
	// Unwinder unwinds the stacks of Kernel.
	Unwinder *unwind.Unwinder
	// Notice is what the machine said as it panicked, or nil.
	Notice *notify.Notice
	// Hellos are the earlier notices of programs, by the name of the task, or by its pid if the
	// notice has no name.
	Hellos map[string]*notify.Notice
	// Hints are those of the notice and of the source.
	Hints bridge.Hints
	// Space is the address space that the user asked for: that of a process (see Process), or the
	// kernel's.
	Space *mmu.Space
	// Process names the process whose address space Space is, or is empty.
	Process string

	// CPUs are the numbers of the possible CPUs, as far as they are known; the first is the one
	// that panicked by the notice.
	CPUs []int
	// Live is set if the machine runs.
	Live bool
	// SpaceChosen is set if the user selected Space by Options.CR3.
	SpaceChosen bool
	// FoundIn is what it took to find the kernel.
	FoundIn bridge.Counts
	// Log is never nil.
	Log hclog.Logger

	other      *neighbour             // the other kernel in the same memory, as far as it was looked for
	files      *debuginfo.ModuleFiles // of the kernel's modules, on the disk of this computer
	moduleDirs []string               // that the user named
	cacheLimit int64                  // bytes, as in Options
	vmlinux    *vmlinux               // nil if there is none
	shared     *vmlinux               // of the machine that a trial was made of; nil if this is no trial
	noVmlinux  error                  // why there is none
	made       *spool                 // files of modules, made of memory
}

// HelloPrefix before the name of a program means the CR3 that the program sent in a notice.
const HelloPrefix = "hello:"

// Attach opens the memory of a machine and finds its kernel. If the options say so, it waits for
// the machine's notice.
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
		return nil, errors.Join(err, given.close())
	}
	return attach(ctx, mem, given, o)
}

// AttachMemory is like [Attach], with a memory that is open. The memory is closed with the machine,
// or if there is an error.
func AttachMemory(ctx context.Context, mem *Memory, o *Options) (*Machine, error) {
	given, err := o.openVmlinux()
	if err != nil {
		return nil, errors.Join(err, mem.Close())
	}
	return attach(ctx, mem, given, o)
}

func attach(ctx context.Context, mem *Memory, given *vmlinux, o *Options) (*Machine, error) {
	m := &Machine{
		Memory: mem, Live: o.Live, SpaceChosen: o.CR3 != "", vmlinux: given,
		moduleDirs: o.Modules, cacheLimit: o.CacheLimit, made: newSpool(), Log: o.logger(),
	}
	if err := m.attach(ctx, o); err != nil {
		return nil, errors.Join(err, m.Close())
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

// checkCR3 says early what is wrong with where to start from: it may take days until the notice
// comes that it is wanted for.
func (o *Options) checkCR3() error {
	name, isHello := strings.CutPrefix(o.CR3, HelloPrefix)
	if _, err := bridge.ParseAddr(o.VMCoreInfo); o.VMCoreInfo != "" && err != nil {
		return Usagef("--vmcoreinfo %s: not a hexadecimal number", o.VMCoreInfo)
	}
	switch {
	case o.CR3 != "" && o.VMCoreInfo != "":
		return Usagef("--cr3 and --vmcoreinfo exclude each other: each says where the search starts")
	case isHello && name == "":
		return Usagef("--cr3 %s: the name of a program is missing", o.CR3)
	case isHello && o.Notify == "":
		return Usagef("--cr3 %s needs --notify: names come from the target's notices", o.CR3)
	case isHello || o.CR3 == "":
		return nil
	}
	if _, err := bridge.ParseAddr(o.CR3); err != nil {
		return Usagef("--cr3 %s: neither a hexadecimal number nor %sNAME", o.CR3, HelloPrefix)
	}
	return nil
}

func (m *Machine) attach(ctx context.Context, o *Options) error {
	if o.Notify != "" {
		if err := m.waitForNotice(ctx, o); err != nil {
			return err
		}
	}
	m.gatherHints(ctx)
	if err := m.checkNotBlank(ctx, o); err != nil {
		return err
	}
	stop := m.checkVMCoreInfo(ctx, o)
	err := m.settle(ctx, o)
	stop()
	if err != nil {
		return err
	}
	m.Unwinder = unwind.New(m.Kernel)
	m.learnRAM(ctx)
	m.findCPUs(ctx)
	if m.Kernel.Symbols != nil {
		m.files = debuginfo.NewModuleFiles(m.Release(ctx), m.moduleDirs)
	}
	return nil
}

// chosenCR3 finds the CR3 that the user meant by a number or a name.
func (m *Machine) chosenCR3(what string) (uint64, error) {
	if name, ok := strings.CutPrefix(what, HelloPrefix); ok {
		n, err := m.Hello(name)
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
	switch cr4, known := m.HintedCPU().Registers["cr4"]; {
	case !known:
		return 0
	case cr4&cr4LA57 != 0:
		return 5
	}
	return 4
}

// findCPUs learns which CPUs the machine has, as far as that can be known; it has at least the one
// that panicked.
func (m *Machine) findCPUs(ctx context.Context) {
	const most = 8192 // the largest NR_CPUS of x86-64; a notice from the network may claim any number
	first := m.HintedCPU().Number
	if first < 0 || first >= most {
		first = 0
	}
	m.CPUs = []int{first}
	if m.Kernel.Symbols == nil {
		return
	}
	cpus, err := m.Kernel.PossibleCPUs(ctx)
	if err != nil {
		m.Log.Warn("the list of CPUs cannot be read; only one is shown", "why", err)
	}
	for _, cpu := range cpus {
		if cpu != first {
			m.CPUs = append(m.CPUs, cpu)
		}
	}
}

// WithBorrowedSymbols returns the machine with the symbols of a debugger's vmlinux, by their
// addresses. It shares the memory with m and is not closed.
func (m *Machine) WithBorrowedSymbols(ctx context.Context, found map[string]uint64) (*Machine, error) {
	known, mem := *m, *m.Memory
	known.Memory = &mem
	var err error
	if known.Kernel, err = m.Kernel.WithSymbols(ctx, found); err != nil {
		return nil, err
	}
	known.Unwinder = unwind.New(known.Kernel)
	known.learnRAM(ctx)
	known.findCPUs(ctx)
	known.files = debuginfo.NewModuleFiles(known.Release(ctx), m.moduleDirs)
	return &known, nil
}

// Close closes the memory and the symbol file, and removes the files that were made of memory.
func (m *Machine) Close() error {
	return errors.Join(m.closeVmlinux(), m.made.close(), m.Memory.Close())
}

// closeVmlinux closes the symbol file, unless the machine that a trial was made of closes it.
func (m *Machine) closeVmlinux() error {
	if m.vmlinux == m.shared {
		return nil
	}
	return m.vmlinux.close()
}
