package gdbstub

import (
	"context"
	"io"
)

// The optional abilities of a Target. Each is looked for when a connection opens; without it the packets it would
// answer are refused or reported as unsupported. They are called by the same goroutine as the Target's own methods.

// RegisterWriter takes writes of registers (`P`), such as `set $cr3 = 0x1000`. A register that cannot be written
// is refused with an error, whose text gdb shows. Without the ability every write is refused.
type RegisterWriter interface {
	WriteRegister(ctx context.Context, id ThreadID, name string, value uint64) error
}

// Relocator knows where the program that the client has loaded is at run time (`qOffsets`).
type Relocator interface {
	// Relocation returns the virtual address of the first PT_LOAD segment as it runs, and how far everything was
	// moved from its link address (two's complement if downwards). gdb is told the first and lldb the second, each
	// breaking on the other's. If ok is false the client moves nothing.
	Relocation(ctx context.Context) (text, slide uint64, ok bool)
}

// SymbolBorrower wants to know some symbols of the file that the user loaded into gdb (`qSymbol`). lldb lends none.
type SymbolBorrower interface {
	// WantedSymbols returns the names, without doing any work. It is called once per connection.
	WantedSymbols() []string
	// BorrowSymbols receives the run-time addresses of those wanted names that gdb knows. It is called again
	// each time gdb has loaded another file. The map is the callee's to keep.
	BorrowSymbols(ctx context.Context, found map[string]uint64) error
}

// Monitor answers the user's `monitor LINE` (`qRcmd`).
type Monitor interface {
	// Monitor writes the answer to w, in UTF-8, within the deadline. An error is shown to the user as a line of text.
	Monitor(ctx context.Context, w io.Writer, line string) error
}

// HaltExplainer says why the machine cannot run.
type HaltExplainer interface {
	// WhyHalted returns one sentence, shown at each attempt to run. It is called once per connection and does no work.
	WhyHalted() string
}

// OSABINamer overrides the OS ABI of the Description, which selects gdb's rules for shared libraries and processes:
// "none" for a kernel, "GNU/Linux" for a user program.
type OSABINamer interface {
	// OSABI is called once per connection and does no work.
	OSABI() string
}

// abilities is what one Target can do beyond the least. A nil field means that it cannot.
type abilities struct {
	registerWriter RegisterWriter
	relocator      Relocator
	borrower       SymbolBorrower
	monitor        Monitor

	wanted    []string // names from the borrower
	whyHalted string
	osabi     string // empty: as the Description says
}

// defaultWhyHalted is shown for a Target that is no HaltExplainer.
const defaultWhyHalted = "The machine is halted: it can be looked at, but it cannot run."

// abilitiesOf finds out what target can do.
func abilitiesOf(target Target) abilities {
	a := abilities{whyHalted: defaultWhyHalted}
	a.registerWriter, _ = target.(RegisterWriter)
	a.relocator, _ = target.(Relocator)
	a.monitor, _ = target.(Monitor)
	if b, ok := target.(SymbolBorrower); ok {
		a.borrower, a.wanted = b, b.WantedSymbols()
	}
	if e, ok := target.(HaltExplainer); ok {
		a.whyHalted = e.WhyHalted()
	}
	if n, ok := target.(OSABINamer); ok {
		a.osabi = n.OSABI()
	}
	return a
}
