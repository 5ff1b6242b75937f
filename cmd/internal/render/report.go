package render

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"physgdb/cmd/internal/query"
	"physgdb/internal/plain"
	"physgdb/symbols"
)

// Report writes a report, to be pasted into a bug report.
func Report(w io.Writer, r *query.Report) error {
	facts(w, r)
	reportModules(w, r)
	reportTasks(w, r)
	return reportLog(w, r)
}

// unknown says in one line why something is not known.
func unknown(why string) string { return "not known: " + plain.Line(why) }

func facts(w io.Writer, r *query.Report) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range r.Facts {
		text := f.Text
		if f.Unknown != "" {
			text = unknown(f.Unknown)
		}
		fmt.Fprintf(t, "%s\t%s\n", f.Name, plain.Line(text))
	}
	t.Flush()
}

// reportModules names the modules in one paragraph, as the kernel's own reports do.
func reportModules(w io.Writer, r *query.Report) {
	if r.NoModules != "" {
		fmt.Fprintf(w, "\nModules linked in: %s\n", unknown(r.NoModules))
		return
	}
	names := make([]string, len(r.Modules))
	for i, m := range r.Modules {
		names[i] = plain.Line(m.Name)
		if m.Taint != "" {
			names[i] += "(" + m.Taint + ")"
		}
	}
	fmt.Fprintf(w, "\nModules linked in: %s\n", strings.Join(names, " "))
	damage(w, r.ModulesDamage)
}

// damage writes what is wrong with the list before, if anything is.
func damage(w io.Writer, text string) {
	if text != "" {
		fmt.Fprintln(w, plain.Line(text))
	}
}

// reportTasks writes what the CPUs did, and which tasks were blocked.
func reportTasks(w io.Writer, r *query.Report) {
	if r.Registers != nil {
		fmt.Fprintf(w, "\nRegisters of the task that panicked:\n")
		writeRegisters(w, r.Registers)
	}
	if r.NoTasks != "" {
		fmt.Fprintf(w, "\nTasks: %s\n", unknown(r.NoTasks))
		return
	}
	backtraced(w, "Tasks on the CPUs", &r.OnCPUs)
	backtraced(w, "Blocked tasks", &r.Blocked)
	damage(w, r.TasksDamage)
}

func backtraced(w io.Writer, what string, b *query.Backtraced) {
	fmt.Fprintf(w, "\n%s: %d\n", what, b.Tasks)
	for _, trace := range b.Backtraces {
		fmt.Fprintln(w)
		writeBacktrace(w, trace)
	}
	if more := b.Tasks - len(b.Backtraces); more > 0 {
		fmt.Fprintf(w, "\n… and %d more\n", more)
	}
}

// writeRegisters writes registers as the kernel's own reports do (__show_regs,
// arch/x86/kernel/process_64.c).
func writeRegisters(w io.Writer, r *query.ReportRegisters) {
	if r.Unknown != "" {
		fmt.Fprintln(w, unknown(r.Unknown))
		return
	}
	cs, ss, flags := "----", "----", "--------"
	if r.Flags != nil {
		cs, ss, flags = fmt.Sprintf("%04x", uint64(r.CS)), fmt.Sprintf("%04x", uint64(r.SS)), fmt.Sprintf("%08x", uint64(*r.Flags))
	}
	fmt.Fprintf(w, "RIP: %s:%s\n", cs, r.Function)
	fmt.Fprintf(w, "RSP: %s:%s EFLAGS: %s\n", ss, word(r, symbols.RSP), flags)
	for _, row := range [][]symbols.Reg{
		{symbols.RAX, symbols.RBX, symbols.RCX}, {symbols.RDX, symbols.RSI, symbols.RDI}, {symbols.RBP, symbols.R8, symbols.R9},
		{symbols.R10, symbols.R11, symbols.R12}, {symbols.R13, symbols.R14, symbols.R15},
	} {
		cells := make([]string, len(row))
		for i, reg := range row {
			cells[i] = kernelName(reg) + ": " + word(r, reg)
		}
		fmt.Fprintln(w, strings.Join(cells, " "))
	}
}

// kernelName returns the name of a register in the kernel's reports: RAX, R08.
func kernelName(reg symbols.Reg) string {
	name := strings.ToUpper(query.RegisterNames[reg])
	if len(name) == 2 {
		return "R0" + name[1:]
	}
	return name
}

// word returns the value of a register, or as many dashes.
func word(r *query.ReportRegisters, reg symbols.Reg) string {
	v, ok := r.All[query.RegisterNames[reg]]
	if !ok {
		return strings.Repeat("-", 16)
	}
	return fmt.Sprintf("%016x", uint64(v))
}

// reportLog writes the end of the log.
func reportLog(w io.Writer, r *query.Report) error {
	if r.NoLog != "" {
		_, err := fmt.Fprintf(w, "\nLog: %s\n", unknown(r.NoLog))
		return err
	}
	fmt.Fprintf(w, "\nLog, its newest %d messages:\n", len(r.Log))
	err := Log(w, &query.Log{Messages: r.Log}, false)
	damage(w, r.LogDamage)
	return err
}
