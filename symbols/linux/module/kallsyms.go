package module

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"physgdb/symbols"
)

// WriteKallsyms writes the symbols of the modules in the format of /proc/kallsyms, after those of
// the kernel; see [linux.Kernel.WriteKallsyms]. The error says which are missing.
func (l *List) WriteKallsyms(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriter(w)
	var missing []error
	for _, m := range l.All {
		if err := m.writeKallsyms(ctx, out); err != nil {
			missing = append(missing, err)
		}
	}
	return cmp.Or(out.Flush(), ctx.Err(), errors.Join(append(missing, l.Damage...)...))
}

// writeKallsyms writes the symbols of a module in the order of its own table. Mapping symbols are
// included, as in the kernel's list (module_get_kallsym(), kernel/module/kallsyms.c).
func (m *Module) writeKallsyms(ctx context.Context, out io.Writer) error {
	known, err := m.Symbols(ctx)
	if err != nil {
		return err
	}
	for _, s := range known.All {
		fmt.Fprintf(out, "%016x %c %s\t[%s]\n", s.Addr, m.letter(&s), s.Name, m.Name)
	}
	return errors.Join(known.Damage...)
}

// letter returns the letter of nm(1) for a symbol of a module.
func (m *Module) letter(s *symbols.Symbol) byte {
	r := m.region(s.Addr)
	switch {
	case s.Func || r != nil && r.Text:
		return 't'
	case r != nil && strings.HasPrefix(r.Name, "ro"):
		return 'r'
	}
	return 'd'
}
