package linux

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

// WriteKallsyms writes the names of the kernel and of its modules as /proc/kallsyms has them, by their addresses in the
// running kernel (kallsyms.c). Which of them are global is not known: all letters are small, but the A of per-CPU variables,
// whose values are offsets. The names of a module that cannot be read are missing, and the error says why.
func (k *Kernel) WriteKallsyms(ctx context.Context, w io.Writer) error {
	if k.Symbols == nil {
		return errors.New("the kernel's symbols are not known")
	}
	out := bufio.NewWriter(w)
	letters := k.sectionLetters()
	for s := range k.Symbols.All() {
		if s.Addr < ImageBase {
			fmt.Fprintf(out, "%016x A %s\n", s.Addr, s.Name)
			continue
		}
		s.Addr += k.Slide
		fmt.Fprintf(out, "%016x %c %s\n", s.Addr, letters.of(&s), s.Name)
	}
	modules, err := k.Modules(ctx)
	if err != nil {
		return cmp.Or(out.Flush(), err)
	}
	var missing []error
	for _, m := range modules.All {
		if err := m.writeKallsyms(ctx, out); err != nil {
			missing = append(missing, err)
		}
	}
	return cmp.Or(out.Flush(), ctx.Err(), errors.Join(append(missing, modules.Damage...)...))
}

// writeKallsyms writes a module's names, in the order of its own table. Mapping symbols are among them, as the kernel lists them
// (module_get_kallsym(), kernel/module/kallsyms.c).
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

// letter is that of nm(1) for what a symbol of a module stands for.
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

// sectionLetters are the areas of the kernel's image that have letters of their own in nm(1), by their names.
type sectionLetters []Area

func (k *Kernel) sectionLetters() sectionLetters { return k.imageAreas() }

// of is the letter for what a symbol of the kernel's image stands for.
func (l sectionLetters) of(s *symbols.Symbol) byte {
	if s.Func {
		return 't'
	}
	for _, a := range l {
		if a.First <= s.Addr && s.Addr <= a.Last {
			_, section, _ := strings.Cut(a.Name, ".")
			return section[0]
		}
	}
	return 'd'
}
