package render

import (
	"fmt"
	"io"
	"strings"

	"physgdb/internal/plain"
	"physgdb/symbols/linux/iomem"
	"physgdb/symbols/linux/module"
)

// IOMem writes the kernel's resources as /proc/iomem has them (r_show(), kernel/resource.c).
func IOMem(w io.Writer, list []iomem.Resource) error {
	const maxDepth = 8 // MAX_IORES_LEVEL
	for _, r := range list {
		indent := strings.Repeat("  ", min(r.Depth, maxDepth))
		if _, err := fmt.Fprintf(w, "%s%08x-%08x : %s\n", indent, uint64(r.Start), uint64(r.Last), plain.Line(r.Name)); err != nil {
			return err
		}
	}
	return nil
}

// ProcModules writes modules as /proc/modules has them (m_show(), kernel/module/procfs.c).
func ProcModules(w io.Writer, modules []*module.Module) error {
	for _, md := range modules {
		if md.State == module.Unformed {
			continue
		}
		if _, err := fmt.Fprintln(w, procModule(md)); err != nil {
			return err
		}
	}
	return nil
}

// procModule is a line of /proc/modules.
func procModule(md *module.Module) string {
	refs := "-"
	if md.Refs >= 0 || md.State == module.Going { // -1 as it is being removed; else they are not counted
		refs = fmt.Sprint(md.Refs)
	}
	var users strings.Builder
	for _, name := range md.UsedBy {
		users.WriteString(name + ",")
	}
	if md.Permanent {
		users.WriteString("[permanent],")
	}
	if users.Len() == 0 {
		users.WriteString("-")
	}
	text := fmt.Sprintf("%s %d %s %s %v 0x%016x", md.Name, md.Size(), refs, users.String(), md.State, md.Base())
	mark := map[module.State]string{module.Going: "-", module.Coming: "+"}[md.State]
	if md.Taint == 0 && mark == "" {
		return text
	}
	taint := ""
	if md.Taint != 0 {
		taint = md.Taint.String()
	}
	return fmt.Sprintf("%s (%s%s)", text, taint, mark)
}
