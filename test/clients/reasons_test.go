package clients

// place is a client's column in the table of a kit.
type place struct {
	kit    string
	client client
}

// reasons are the reasons for which a client cannot do an action. A cell without one must pass, a
// cell with one must fail.
var reasons = map[place]map[string]string{
	{debugFiles.name, lldbCLI{}}:     {backtrace: lldbSkipsCaller},
	{debugFiles.name, lldbAdapter{}}: {backtrace: lldbSkipsCaller},
}

// lldbSkipsCaller describes lldb on a machine that died in a module (UnwindAssembly-x86 of LLVM: a
// call of the next instruction is half of an idiom by which position-independent code reads rip).
const lldbSkipsCaller = "the caller of the innermost function is missing if that function is in a module. Functions begin with a call " +
	"of __fentry__, which has no target yet in the file of a module, and lldb takes such a call for a push. `monitor bt` shows it."
