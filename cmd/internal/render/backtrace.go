package render

import (
	"fmt"
	"io"
	"slices"

	"physgdb/cmd/internal/query"
	"physgdb/internal/plain"
	"physgdb/symbols/linux"
)

// Backtraces writes backtraces as the kernel writes its own.
var Backtraces = Table[query.Backtrace]{Between: "\n", Row: writeBacktrace}

func writeBacktrace(w io.Writer, b *query.Backtrace) error {
	writeBacktraceHeader(w, b)
	onlyTask := !slices.ContainsFunc(b.Frames, func(f query.Frame) bool { return f.Stack != "TASK" && f.Stack != "" })
	stack := ""
	for i := range b.Frames {
		f := &b.Frames[i]
		if f.Stack != stack && f.Stack != "" && !onlyTask {
			if stack != "" {
				fmt.Fprintf(w, " </%s>\n", stack)
			}
			fmt.Fprintf(w, " <%s>\n", f.Stack)
			stack = f.Stack
		}
		writeFrame(w, f, i)
	}
	switch {
	case b.User != nil:
		writeUserEntry(w, b.User)
	case b.Lost == "":
		fmt.Fprintln(w, " the first function of the task")
	}
	if b.Lost != "" {
		fmt.Fprintf(w, " lost: %s\n", plain.Line(b.Lost))
	}
	if b.Rests != "" {
		fmt.Fprintf(w, " CPU %d itself stopped in %s\n", b.CPU, b.Rests)
	}
	return nil
}

func writeBacktraceHeader(w io.Writer, b *query.Backtrace) {
	what := b.State
	switch {
	case b.Panicked:
		what = "panicked"
	case b.Running:
		what = "running"
	}
	fmt.Fprintf(w, "PID: %d", b.PID)
	if b.TID != b.PID {
		fmt.Fprintf(w, "  TID: %d", b.TID)
	}
	fmt.Fprintf(w, "  TASK: %v  CPU: %d  STATE: %s  COMM: %q", b.Task, b.CPU, what, b.Comm)
	if b.Registers != "" {
		fmt.Fprintf(w, "  REGISTERS: %s", b.Registers)
	}
	fmt.Fprintln(w)
}

func writeFrame(w io.Writer, f *query.Frame, n int) {
	if r := f.Regs; r != nil {
		fmt.Fprintf(w, "    interrupted: RIP %v  RSP %v  CS %v  EFLAGS %v  ORIG_RAX %d\n", r.RIP, r.RSP, r.CS, r.Flags, r.OrigRAX)
	}
	for _, in := range f.Inlined {
		fmt.Fprintf(w, "%-3s %20s%s (inlined)%s\n", fmt.Sprintf("#%d", n), "", in.Function, sourceText(in.File, in.Line))
	}
	fmt.Fprintf(w, "%-3s [%v] %s at %v%s\n", fmt.Sprintf("#%d", n), f.SP, functionText(f), f.PC, sourceText(f.File, f.Line))
}

// functionText returns a function in the form in which the kernel's own traces have it.
func functionText(f *query.Frame) string {
	if f.Function == "" {
		return "?"
	}
	place := linux.Place{Offset: uint64(f.Offset), Module: f.Module}
	place.Name, place.Size = f.Function, uint64(f.Size)
	if f.Guessed {
		return "? " + place.String()
	}
	return place.String()
}

// sourceText writes a line of the source, if it is known.
func sourceText(file string, line int) string {
	if file == "" {
		return ""
	}
	return fmt.Sprintf(" (%s:%d)", file, line)
}

func writeUserEntry(w io.Writer, u *query.UserEntry) {
	fmt.Fprintf(w, " user: RIP %v  RSP %v  ", u.RIP, u.RSP)
	if u.Syscall != nil {
		fmt.Fprintf(w, "system call %d\n", *u.Syscall)
	} else {
		fmt.Fprintln(w, "interrupted")
	}
}
