package gdbstub

import (
	"context"
	"io"

	"physgdb/gdbstub/tdesc"
)

// The optional abilities of a Target. Each is looked for when a connection opens; without it the
// packets it would answer are refused or reported as unsupported. They are called by the same
// goroutine as the Target's own methods.

// RegisterWriter takes writes of registers (`P`), such as `set $cr3 = 0x1000`. A register that
// cannot be written is refused with an error, whose text gdb shows. Without the ability every write
// is refused.
type RegisterWriter interface {
	WriteRegister(ctx context.Context, id ThreadID, name string, value uint64) error
}

// Relocator knows where the program that the client has loaded is at run time (`qOffsets`).
type Relocator interface {
	// Relocation returns the virtual address of the first PT_LOAD segment as it runs, and how far
	// everything was moved from its link address (two's complement if downwards). gdb gets the
	// first and lldb the second; each fails with the other's. If ok is false the client moves
	// nothing.
	Relocation(ctx context.Context) (text, slide uint64, ok bool)
}

// SymbolBorrower wants to know some symbols of the file that the user loaded into gdb (`qSymbol`).
// lldb lends those that have a type, so not those that a linker script defines.
type SymbolBorrower interface {
	// WantedSymbols returns the names, without doing any work. It is called once per connection.
	WantedSymbols() []string
	// BorrowSymbols receives the run-time addresses of those wanted names that gdb knows. It is
	// called again each time gdb has loaded another file. The map is the callee's to keep.
	BorrowSymbols(ctx context.Context, found map[string]uint64) error
}

// Monitor answers the user's `monitor LINE` (`qRcmd`).
type Monitor interface {
	// Monitor writes the answer to w, in UTF-8. It is shown as it comes, if it does not come at
	// once. The deadline counts from the last output on, so a command may take long if it says now
	// and then how far it is. An error is shown to the user as a line of text. When ctx is done the
	// answer is no longer wanted, or the deadline is near.
	Monitor(ctx context.Context, w io.Writer, line string) error
}

// HaltExplainer says why the machine cannot run.
type HaltExplainer interface {
	// WhyHalted returns one sentence, shown at each attempt to run. It is called once per
	// connection and does no work.
	WhyHalted() string
}

// Describer says which registers there are. Without it they are those of [tdesc.AMD64].
type Describer interface {
	// Description is called once and does no work.
	Description() *tdesc.Description
}

// ProcessOpener lets the user attach to the machine's programs one by one (`target
// extended-remote`, then `attach PID`), in addition to the machine as a whole, which is process 1.
type ProcessOpener interface {
	// OpenProcess returns a program as a Target of its own, with abilities of its own. The error's
	// text is for the user.
	OpenProcess(ctx context.Context, pid int) (Target, error)
}

// AuxiliaryVector has the values that the operating system passed to a program at its start
// (`qXfer:auxv:read`). From that gdb learns where a position-independent program lies.
type AuxiliaryVector interface {
	// Auxv returns the vector as it lies in memory, pairs of words up to AT_NULL.
	Auxv(ctx context.Context) ([]byte, error)
}

// Refresher is a machine that runs on while it is looked at and that cannot be stopped. The user's
// `continue` means to look no more until Ctrl-C.
type Refresher interface {
	// Refresh drops what was read of the machine, as it has run on since. It is called at each
	// Ctrl-C.
	Refresh(ctx context.Context) error
}

// Runner is a machine that the client can let run and stop again (`vCont`, Ctrl-C). All its threads
// run and stop together.
type Runner interface {
	// Stops returns the channel on which the machine reports each of its stops. It is called once
	// per connection and does no work. After a Resume that succeeded there is exactly one stop, at
	// any time and from any goroutine, also while Resume is still running; the channel must have
	// room for it. A closed channel means that the machine is gone.
	Stops() <-chan Stop
	// Resume lets the machine run and returns at once. The actions are in the order of their
	// precedence: for each thread the first that names it, or that names all, counts. A thread that
	// no action names stays stopped if the machine can do so. After an error the machine is still
	// stopped; the error's text is shown to the user.
	Resume(ctx context.Context, actions []Action) error
	// Interrupt makes a machine that runs stop, and returns at once. It is called at each Ctrl-C.
	Interrupt(ctx context.Context) error
}

// Action is how a thread is to run.
type Action struct {
	Thread ThreadID // 0 for all threads
	Step   bool     // one instruction only
	Signal int      // to be delivered to the thread, by gdb's numbers; 0 for none
}

// Stop is a stop of a Runner.
type Stop struct {
	Thread ThreadID // that it is about
	Signal int      // by gdb's numbers: 2 after Interrupt, 5 after a step
	Text   string   // shown to the user before the stop; may be empty
}

// ExecutableNamer has the main file for a client whose user brought none (`qXfer:exec-file:read`).
// gdb then fetches it by the FileServer; lldb does not ask.
type ExecutableNamer interface {
	// ExecutableFile returns the path of the file, or "" if there is none.
	ExecutableFile(ctx context.Context) (string, error)
}

// LibraryLister knows which other files are loaded where (`qXfer:libraries:read`), such as the
// modules of a kernel. gdb asks at connect if the OS ABI is "none", and loads the symbols of each
// file it finds; lldb does not get the list, as it would place a file by the first of its sections
// alone.
type LibraryLister interface {
	Libraries(ctx context.Context) ([]Library, error)
}

// Library is one loaded file.
//
// gdb counts the Sections against the file that it finds on the user's disk, which the server never
// sees. The list must therefore be made from the file itself: a wrong list is worse than none,
// since the symbols of that file then stay near address 0. A file that is not known for certain
// should be left out, and so should one with a section that is not SHF_ALLOC before one that is
// (relocations do not count), for which gdb 13 to 18 read past the end of the list. The server
// itself leaves out a Library without a name, without segments or sections, or with a section at 0,
// as that puts other symbols of the file in wrong places. No section may run over the end of the
// address space: gdb would abort.
type Library struct {
	// Name is the path of the file. gdb looks for it below sysroot, then for its last part in
	// solib-search-path.
	Name string
	// Segments holds the virtual address of each PT_LOAD segment in the order of the file, for a
	// file that has them: a module as compilers leave it has none. Without them Sections counts.
	Segments []uint64
	// Sections holds the virtual address of each SHF_ALLOC section in the order of the file, empty
	// ones included. One that was freed since needs an address, too: the one it had, or any that
	// nothing is mapped at.
	Sections []uint64
}

// OSLister has tables of what an operating system knows, for the user's `info os`
// (`qXfer:osdata:read`).
type OSLister interface {
	// OSTables says which there are, without doing any work. It is called once per connection.
	OSTables() []OSTable
}

// OSTable is one table of an OSLister. Its texts may hold any bytes: what cannot be read is shown
// as question marks.
type OSTable struct {
	Name        string   // what the user types after `info os`, such as "processes"
	Title       string   // what a menu calls it, such as "Processes"
	Description string   // one line that says what it lists
	Columns     []string // VS Code looks for pid, user, command and cores in "processes"

	// Rows reads the cells, one for each of the Columns. Missing ones are shown empty and surplus
	// ones not at all.
	Rows func(ctx context.Context) ([][]string, error)
}

// VMCoreInfoReader has the text of a Linux kernel's vmcoreinfo note, lines of KEY=VALUE, as it lies
// in memory (`qXfer:vmcoreinfo:read`, which drgn proposes). gdb and lldb do not ask for it.
type VMCoreInfoReader interface {
	// VMCoreInfo returns the text, which must not change afterwards.
	VMCoreInfo(ctx context.Context) ([]byte, error)
}

// RegionLister lists which ranges of the address space are mapped, and with which rights
// (`qMemoryRegionInfo`, for lldb's `memory region`). lldb asks several times at each stop, and for
// `memory region --all` once per region, so the answers should come from a list that is made once.
type RegionLister interface {
	// Region returns the stretch that addr lies in, as a thread sees it.
	Region(ctx context.Context, id ThreadID, addr uint64) (Region, error)
}

// Region is a stretch of virtual addresses that is mapped with the same rights throughout, or in
// which nothing is mapped.
type Region struct {
	First, Last uint64 // both included, so that a region can reach the top of the address space
	Mapped      bool   // false for a hole; the rest is then ignored
	Read        bool
	Write       bool
	Execute     bool
	Name        string // what is there, or empty
}

// PhysicalSwitcher can show physical memory instead of virtual (`Qqemu.PhyMemMode:1`). While that
// is on, the addresses of [Target.ReadMemory] are physical ones. It is off when a connection opens.
// Both methods do no work.
type PhysicalSwitcher interface {
	PhysicalMode() bool
	SetPhysicalMode(on bool)
}

// FileServer has files for the client to read (`vFile`): for the user's `remote get`, and for gdb,
// which looks there for every file that it wants of the target as long as its sysroot is "target:",
// as it is by default. A server with this ability must therefore have the files that it names by a
// LibraryLister.
type FileServer interface {
	// OpenFile opens a file. The error is fs.ErrNotExist for a name that there is none of, which
	// clients try a lot.
	OpenFile(ctx context.Context, name string) (File, error)
}

// File is an open file. A client may have 1024 of them open, so each should hold little memory. Its
// content holds still, and is read piece by piece: nothing should be copied for a part of it. If it
// implements io.Closer it is closed by the client, or at the end of the connection; a late read may
// still be under way.
type File interface {
	io.ReaderAt
	Size() int64 // bytes
}

// MemorySearcher finds bytes in memory (`qSearch:memory`), for gdb's `find`. Without the ability
// gdb reads all the memory that it is to search.
type MemorySearcher interface {
	// SearchMemory returns the first address in the length bytes from addr on that matches the
	// pattern; the whole match must be within the range. Unmapped memory matches nothing. What
	// could not be looked through for another reason, or not in time, is an error, whose text gdb
	// shows: it should say what else the user could do.
	SearchMemory(ctx context.Context, id ThreadID, addr, length uint64, pattern []byte) (at uint64, found bool, err error)
}

// LoadReader reads memory by where the program that the client has loaded says that its parts are
// loaded (`qCRC`), for gdb's `compare-sections`. These are the physical addresses of its segments
// (LMA), as they were linked: those of a kernel are not its virtual ones, and neither has been
// moved with it.
type LoadReader interface {
	// ReadLoaded fills p from the load address addr on and returns the number of good bytes from
	// the start of p. A number less than len(p) comes with an error.
	ReadLoaded(ctx context.Context, id ThreadID, addr uint64, p []byte) (int, error)
}

// abilities is what one Target can do beyond the least. A nil field means that it cannot.
type abilities struct {
	registerWriter RegisterWriter
	relocator      Relocator
	borrower       SymbolBorrower
	monitor        Monitor
	executable     ExecutableNamer
	libraries      LibraryLister
	osLister       OSLister
	vmcoreInfo     VMCoreInfoReader
	processes      ProcessOpener
	auxv           AuxiliaryVector
	refresher      Refresher
	runner         Runner
	regions        RegionLister
	physical       PhysicalSwitcher
	files          FileServer
	searcher       MemorySearcher
	loader         LoadReader

	description *tdesc.Description
	stops       <-chan Stop // from the runner
	wanted      []string    // names from the borrower
	osTables    []OSTable   // from the osLister
	whyHalted   string
}

// defaultWhyHalted is shown for a Target that is no HaltExplainer.
const defaultWhyHalted = "The machine is halted: it can be examined, but it cannot run."

// abilitiesOf finds out what target can do.
func abilitiesOf(target Target) abilities {
	a := abilities{whyHalted: defaultWhyHalted, description: tdesc.AMD64()}
	a.registerWriter, _ = target.(RegisterWriter)
	a.relocator, _ = target.(Relocator)
	a.monitor, _ = target.(Monitor)
	a.executable, _ = target.(ExecutableNamer)
	a.libraries, _ = target.(LibraryLister)
	a.vmcoreInfo, _ = target.(VMCoreInfoReader)
	a.processes, _ = target.(ProcessOpener)
	a.auxv, _ = target.(AuxiliaryVector)
	a.refresher, _ = target.(Refresher)
	a.regions, _ = target.(RegionLister)
	a.physical, _ = target.(PhysicalSwitcher)
	a.files, _ = target.(FileServer)
	a.searcher, _ = target.(MemorySearcher)
	a.loader, _ = target.(LoadReader)
	if r, ok := target.(Runner); ok {
		a.runner, a.stops = r, r.Stops()
	}
	if b, ok := target.(SymbolBorrower); ok {
		a.borrower, a.wanted = b, b.WantedSymbols()
	}
	if l, ok := target.(OSLister); ok {
		a.osLister, a.osTables = l, l.OSTables()
	}
	if e, ok := target.(HaltExplainer); ok {
		a.whyHalted = e.WhyHalted()
	}
	if d, ok := target.(Describer); ok {
		a.description = d.Description()
	}
	return a
}
