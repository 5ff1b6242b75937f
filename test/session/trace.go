package session

import (
	"regexp"
	"slices"
	"strings"

	"physgdb/symbols"
)

// Trace names the function of each frame of a backtrace as gdb or lldb prints it, see [Functions].
func Trace(bt string, vmlinux *symbols.Table, slide uint64) []string {
	return Functions(Frames(bt), vmlinux, slide)
}

// Functions names the functions at the addresses of a backtrace, innermost first, by the kernel's
// symbol table, as the kernel's own Call Trace does, up to the entry from user space: what a
// debugger shows beyond that it made up from saved registers.
func Functions(frames []uint64, vmlinux *symbols.Table, slide uint64) []string {
	var names []string
	for i, addr := range frames {
		if i > 0 {
			addr-- // a return address may be past the end of a function that ends in a call
		}
		s, _, ok := vmlinux.At(addr - slide)
		if !ok || !s.Func && !strings.HasPrefix(s.Name, "entry_") {
			break
		}
		names = append(names, s.Name)
		if strings.HasPrefix(s.Name, "entry_") {
			break
		}
	}
	return names
}

// Lines of a backtrace that name a function: gdb's, and those of physgdb bt.
var (
	gdbName     = regexp.MustCompile(`(?m)^#\d+ +(?:0x[0-9a-f]+ in )?([^\s<(]+) \(`)
	physgdbName = regexp.MustCompile(`(?m)^#\d+ +\[0x[0-9a-f]+\] ([^\s+]+)\+0x`)
)

// PrintedByGDB returns the names that gdb itself printed in a backtrace, innermost first, up to the
// entry from user space.
func PrintedByGDB(bt string) []string { return printed(gdbName, bt) }

// PrintedByPhysgdb returns those of physgdb bt.
func PrintedByPhysgdb(bt string) []string { return printed(physgdbName, bt) }

func printed(line *regexp.Regexp, bt string) []string {
	var names []string
	for _, m := range line.FindAllStringSubmatch(bt, -1) {
		names = append(names, m[1])
		if strings.HasPrefix(m[1], "entry_") {
			break
		}
	}
	return names
}

// TrimTrace returns a Call Trace from panic on: some kernels list what printed it first.
func TrimTrace(calls []string) []string {
	if i := slices.Index(calls, "panic"); i >= 0 {
		return calls[i:]
	}
	return calls
}
