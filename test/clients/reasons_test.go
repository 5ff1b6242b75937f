package clients

// place is where a cell is: a client's column in the table of a kit.
type place struct {
	kit    string
	client client
}

// reasons are why a client cannot do an action: what the client lacks, in a sentence. A cell
// without one must pass; one that has one must not.
var reasons = map[place]map[string]string{
	{debugFiles.name, lldbCLI{}}:     {backtrace: lldbSkipsCaller},
	{debugFiles.name, lldbAdapter{}}: {backtrace: lldbSkipsCaller},
}

// lldbSkipsCaller is what lldb does where a machine died in a module (UnwindAssembly-x86 of LLVM: a
// call of the next instruction is half of an idiom by which position-independent code reads rip).
const lldbSkipsCaller = "the caller of the innermost function is missing if that function is in a module. Functions begin with a call " +
	"of __fentry__, which has no target yet in the file of a module, and lldb takes such a call for a push. `monitor bt` shows it."
