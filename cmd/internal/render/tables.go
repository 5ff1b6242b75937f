package render

import (
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"physgdb/cmd/internal/query"
	"physgdb/cmd/internal/size"
	"physgdb/internal/plain"
	"physgdb/symbols/linux/klog"
)

// Tasks writes tasks as ps does.
var Tasks = Table[query.Task]{
	Title: fmt.Sprintf(" %7s %7s %7s S %4s %-6s  %-18s  %s\n", "PID", "TID", "PPID", "CPU", "KIND", "TASK", "COMM"),
	Row: func(w io.Writer, t *query.Task) error {
		mark := ' '
		if t.Running {
			mark = '>'
		}
		_, err := fmt.Fprintf(w, "%c%7d %7d %7d %s %4d %-6s  %v  %s\n", mark, t.PID, t.TID, t.PPID, t.State, t.CPU, t.Kind, t.Task,
			plain.Line(t.Comm))
		return err
	},
}

// Roots writes roots of address spaces.
var Roots = Table[query.Root]{Row: func(w io.Writer, r *query.Root) error {
	fmt.Fprintf(w, "%s %v", plain.Line(r.Name), r.CR3)
	if r.Comm != "" {
		fmt.Fprintf(w, " %s", plain.Line(r.Comm))
	}
	_, err := fmt.Fprintln(w)
	return err
}}

// PerCPUs writes copies of a per-CPU variable.
var PerCPUs = Table[query.PerCPU]{Row: func(w io.Writer, c *query.PerCPU) error {
	fmt.Fprintf(w, "CPU %-3d %v", c.CPU, c.Addr)
	if c.Value != nil {
		fmt.Fprintf(w, " = %v", *c.Value)
	}
	if c.Symbol != "" {
		fmt.Fprintf(w, " <%s>", c.Symbol)
	}
	_, err := fmt.Fprintf(w, "  print %s\n", c.Expression)
	return err
}}

// Modules writes modules as lsmod does.
var Modules = Table[query.Module]{
	Title: fmt.Sprintf("%-24s %9s  %-9s %-5s %-18s  %s\n", "NAME", "SIZE", "STATE", "TAINT", "BASE", "USED BY"),
	Row: func(w io.Writer, m *query.Module) error {
		_, err := fmt.Fprintf(w, "%-24s %9d  %-9s %-5s %v  %s\n", plain.Line(m.Name), m.Size, m.State, m.Taint, m.Base, users(m))
		return err
	},
}

// ModuleFiles writes modules, and below each the file from which gdb loads its symbols, or why
// there is none and gdb's command to load a file of the user.
var ModuleFiles = Table[query.Module]{Title: Modules.Title, Row: func(w io.Writer, m *query.Module) error {
	if err := Modules.Row(w, m); err != nil {
		return err
	}
	if m.NoFile == nil {
		_, err := fmt.Fprintf(w, "  %s\n", m.File)
		return err
	}
	_, err := fmt.Fprintf(w, "  %s\n  %s\n", plain.Line(m.NoFile.Error()), plain.Line(m.AddSymbolFile))
	return err
}}

// users returns which modules use a module, as lsmod prints them.
func users(m *query.Module) string {
	if m.Refs < 0 {
		return "-"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", m.Refs, plain.Line(strings.Join(m.UsedBy, ","))))
}

// Fileless explains that the files of some modules were not found.
func Fileless(w io.Writer, count int) error {
	_, err := fmt.Fprintf(w, "\nFiles of %d were not found (why: modules --files). For these gdb gets only names and types from memory, no\n"+
		"source lines. --modules DIR names a directory with files.\n", count)
	return err
}

// Log writes messages of the kernel's log, as dmesg does or as JSON.
func Log(w io.Writer, log *query.Log, asJSON bool) error {
	format := klog.Format{Boot: log.Boot}
	messages := Table[query.Message]{Row: func(w io.Writer, m *query.Message) error {
		_, err := io.WriteString(w, format.Format(&m.Record))
		return err
	}}
	return messages.Write(w, log.Messages, asJSON)
}

// Hits writes places that a search found.
var Hits = Table[query.Hit]{Row: func(w io.Writer, h *query.Hit) error {
	_, err := fmt.Fprintln(w, strings.TrimSpace(fmt.Sprintf("%v %s", h.Addr, h.Symbol)))
	return err
}}

// FindResult writes how many places a search found.
func FindResult(w io.Writer, r *query.FindResult, limit int) error {
	more := ""
	if r.Hits == limit {
		more = fmt.Sprintf("; there may be more: /%d shows as many", 10*limit)
	}
	_, err := fmt.Fprintf(w, "found: %d, in %s%s\n", r.Hits, size.Text(r.Searched), more)
	return err
}

// Mappings writes mappings of an address space.
var Mappings = Table[query.Mapping]{
	Title: fmt.Sprintf("%18s %-18s  %12s  %-5s  %s  %s\n", "FROM", "TO", "PHYSICAL", "PAGE", "RIGHTS", "INDEX"),
	Row: func(w io.Writer, m *query.Mapping) error {
		path := make([]string, len(m.Path))
		for i, p := range m.Path {
			path[i] = strconv.Itoa(int(p))
		}
		note := ""
		if m.Times > 1 {
			note = fmt.Sprintf("  %d times, one every %s", m.Times, size.Text(m.Stride))
		}
		if !m.RAM {
			note += "  not RAM"
		}
		_, err := fmt.Fprintf(w, "%18s-%-18s  %12s  %-5s  %-6s  %s%s\n", m.VA, m.End, m.PA, size.Text(m.Page), m.Flags,
			strings.Join(path, "/"), note)
		return err
	},
}

// Walks writes how virtual addresses are translated, entry by entry.
var Walks = Table[query.Walk]{Row: writeWalk}

func writeWalk(w io.Writer, walk *query.Walk) error {
	fmt.Fprintf(w, "%v", walk.VA)
	if walk.Symbol != "" {
		fmt.Fprintf(w, " %s", walk.Symbol)
	}
	fmt.Fprintf(w, "\n  CR3   %v\n", walk.CR3)
	for _, e := range walk.Entries {
		fmt.Fprintf(w, "  %-4s  entry %3d at phys %#-12x = %#016x\n", e.Table, e.Index, uint64(e.Phys), uint64(e.Value))
	}
	if walk.Page == nil {
		_, err := fmt.Fprintf(w, "  %s\n", walk.Fault)
		return err
	}
	fmt.Fprintf(w, "  phys  %v, in a page of %s, %v", walk.Page.Phys, size.Text(walk.Page.Size), walk.Page.Flags)
	switch walk.Page.RAM {
	case query.NotRAM:
		fmt.Fprint(w, "; not RAM, and never read")
	case query.IsDevice:
		fmt.Fprint(w, "; most likely a device: never read without a RAM map")
	}
	_, err := fmt.Fprintln(w)
	return err
}

// Stats writes what reads of a machine's memory have cost.
func Stats(w io.Writer, s query.Stats) error {
	_, err := fmt.Fprintf(w, "bridge: %d reads in %d batches, %s", s.Reads, s.Batches, size.Text(s.Bytes))
	if err == nil && s.Packets > 0 {
		_, err = fmt.Fprintf(w, "; %d TLPs sent, %d of them again", s.Packets, s.Retries)
	}
	if err == nil {
		_, err = fmt.Fprintln(w, uncounted(s))
	}
	return err
}

// uncounted returns which reads are not counted, or "".
func uncounted(s query.Stats) string {
	if !s.InPlace {
		return ""
	}
	return "; reads in place, in a mapped file, are not counted"
}

// Bytes writes a hex dump.
var Bytes = Table[query.Bytes]{Row: func(w io.Writer, b *query.Bytes) error {
	raw, err := hex.DecodeString(b.Hex)
	if err != nil {
		return err
	}
	dumped := hex.Dump(raw) // "00000000  xx …  |text|\n"
	_, err = fmt.Fprintf(w, "%#016x%s", uint64(b.Addr), dumped[8:])
	return err
}}

// SavedSymbols writes which symbol files were written.
func SavedSymbols(w io.Writer, s *query.SavedSymbols) error {
	var err error
	if s.Path != "" {
		_, err = fmt.Fprintf(w, "%s: %d symbols, %s\n", s.Path, s.Symbols, size.Text(uint64(s.Size)))
	}
	if s.ModulesDir != "" && err == nil {
		_, err = fmt.Fprintf(w, "%s: %d modules\n", s.ModulesDir, len(s.Modules))
	}
	return err
}

// Version writes the version of physgdb.
func Version(w io.Writer, v *query.Version) error {
	_, err := fmt.Fprintf(w, "physgdb version %s\n", VersionText(v))
	return err
}

// VersionText returns the version of physgdb with what it was built by and for.
func VersionText(v *query.Version) string {
	return fmt.Sprintf("%s (%s, %s/%s)", v.Version, v.Go, v.OS, v.Arch)
}

// Listening writes that a server of the given kind is ready.
func Listening(w io.Writer, kind string, l *query.Listening, asJSON bool) error {
	if asJSON {
		return plain.WriteJSON(w, l)
	}
	_, err := fmt.Fprintf(w, "physgdb: %s %s\n", kind, l.Address)
	return err
}
