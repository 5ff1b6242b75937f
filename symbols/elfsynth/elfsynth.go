// Package elfsynth makes one ELF file of what a kernel, or a module of it, keeps in its memory
// about itself: its symbols (kallsyms), its types (BTF) and how to unwind its stacks (ORC).
// Debuggers load it in place of a missing vmlinux or .ko.
package elfsynth

import (
	"physgdb/symbols"
	"physgdb/symbols/orc"
)

// Program is what is known of a kernel or of one of its modules. All addresses are those of the
// file: for a kernel link addresses, for a module those at run time.
type Program struct {
	// Name is what the file calls itself in its debug information.
	Name string
	// LoadOffset is how far virtual addresses are above the physical ones that it was linked for
	// (LOAD_OFFSET, arch/x86/kernel/vmlinux.lds.S), in bytes; 0 if they are the same.
	LoadOffset uint64
	// Sections are the stretches of its memory, in the order of their addresses. They do not
	// overlap.
	Sections []Section
	// Symbols are its names.
	Symbols []symbols.Symbol
	// Notes are its ELF notes, among them the build-id. Without them Data is nil.
	Notes symbols.Blob
	// BTF are its types (Documentation/bpf/btf.rst). Those of a module go on where BaseBTF, the
	// kernel's, ends. Either may be nil.
	BTF     symbols.Blob
	BaseBTF []byte
	// ORC has the unwind rules of its code; nil if there are none.
	ORC *orc.Sections
	// FramePointers says that without ORC its functions keep frame pointers
	// (CONFIG_UNWINDER_FRAME_POINTER).
	FramePointers bool
	// Rules describe how to unwind code that ORC does not cover, in the order of their addresses.
	Rules []symbols.CodeRule
	// Replaced are addresses that replace return addresses on stacks; see [TrueReturns].
	Replaced []uint64
	// Globals are the types of variables that are missing in its BTF.
	Globals []Global
}

// Section is a stretch of memory with the same rights throughout. Its content stays in memory.
type Section struct {
	Name       string
	Addr, Size uint64 // virtual; bytes
	Write      bool
	Exec       bool
	// PerCPU: it is at address 0 and does not move with the rest. The main file of a debugger needs
	// such a section, or gdb does not see where stacks end. It is 1 byte long where it is made of
	// memory: longer ones, as the per-CPU section of a vmlinux, have gdb take addresses that no
	// code has for per-CPU variables.
	PerCPU bool
}

// Global is a variable: Type in the words of C, such as "struct task_struct", "unsigned long []".
// An array without a length is as long as its symbol.
type Global struct{ Name, Type string }
