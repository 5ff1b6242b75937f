package render

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"physgdb/cmd/internal/machine"
	"physgdb/cmd/internal/query"
	"physgdb/cmd/internal/size"
	"physgdb/internal/plain"
)

// Info writes what a machine is, a fact a line.
func Info(w io.Writer, i *query.Info) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	known := func(name, text string) {
		if text != "" {
			row(name, "%s", text)
		}
	}
	row("source", "%s", i.Source)
	if i.Layout != "" {
		row("layout", "?map=%s fits: RAM is split around the PCI hole", i.Layout)
	}
	row("RAM map", "%s", ramText(i))
	known("host", plain.Line(i.Host))
	known("died of", i.Panic)
	known("kernel", plain.Line(i.Kernel))
	known("other kernel", i.Other)
	infoSymbols(row, i)
	row("found by", "%s, in %d bridge reads (%s)%s", i.FoundBy, i.FoundIn.Reads, size.Text(i.FoundIn.Bytes), uncounted(i.FoundIn))
	row("CR3", "%v, %d-level paging", i.CR3, i.Levels)
	known("process", i.Process)
	row("_text", "%v, at phys %v", i.Text, i.TextAt)
	if i.Symbols.Origin != query.OriginNone {
		row("slide", "%v", i.Slide)
	} else {
		row("slide", "%v, if the kernel was linked where most are", i.Slide)
	}
	row("phys_base", "%v", i.Base)
	row("CPUs", "%s", cpuList(i))
	return t.Flush()
}

// ramText returns the RAM map and its origin.
func ramText(i *query.Info) string {
	if len(i.RAM) == 0 {
		return "unknown: addresses that the page tables mark as cacheable are taken for RAM"
	}
	parts := make([]string, len(i.RAM))
	for n, r := range i.RAM {
		parts[n] = fmt.Sprintf("%v-%v", r.First, r.Last)
	}
	return fmt.Sprintf("%s (%s)", strings.Join(parts, ", "), i.RAMFrom)
}

// infoSymbols writes where names and types come from.
func infoSymbols(row func(name, format string, args ...any), i *query.Info) {
	s := i.Symbols
	switch {
	case s.Origin == query.OriginNone:
		row("symbols", "none: %s", s.Why)
		return
	case s.Origin == query.OriginDebugger:
		row("symbols", "only a few, from the debugger; give --vmlinux FILE for names")
		return
	case i.BuildID != "":
		row("build-id", "%s", i.BuildID)
	default:
		row("build-id", "not known: no build-id of a usual length at its place in the kernel")
	}
	switch machine.Origin(s.Origin) {
	case machine.OriginCache:
		row("symbols", "%d, cached for this build-id, and not compared with this machine (--trust-build-id)", s.Count)
	case machine.OriginMemory:
		row("symbols", "%d, from the machine's own memory", s.Count)
	case machine.OriginBuildID:
		row("symbols", "%d, from %s, which was found by its build-id", s.Count, s.File)
	default:
		row("symbols", "%d, from %s, whose build-id is that in memory", s.Count, s.File)
	}
	for _, why := range s.Missing {
		row("missing", "%s", plain.Line(why))
	}
}

func cpuList(i *query.Info) string {
	var names []string
	for _, c := range i.CPUs {
		name := strconv.Itoa(c.CPU)
		switch {
		case c.Panicked:
			name += " (panicked)"
		case c.Offline:
			name += " (offline)"
		}
		names = append(names, name)
	}
	if i.Symbols.Origin == query.OriginNone {
		names = append(names, "others not known")
	}
	return strings.Join(names, ", ")
}
