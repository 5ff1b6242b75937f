package linux

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"physgdb/symbols"
)

// WriteKallsyms writes the symbols of the kernel in the format of /proc/kallsyms, with their
// addresses in the running kernel (kernel/kallsyms.c). Which of them are global is not known: all
// letters are lower case, except the A of per-CPU variables, whose values are offsets. Symbols of
// modules are not included.
func (k *Kernel) WriteKallsyms(w io.Writer) error {
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
	return out.Flush()
}

// sectionLetters are the areas of the kernel's image that have letters of their own in nm(1).
type sectionLetters []Area

func (k *Kernel) sectionLetters() sectionLetters { return k.imageAreas() }

// of returns the letter for a symbol of the kernel's image.
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
