package kernels

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// row is the result for a machine.
type row struct {
	spec
	release string
	cells   []string
	took    time.Duration
}

const preface = `# What works on which kernel

Written by ` + "`make kernels`" + `. Every machine is a real Debian kernel in QEMU with two CPUs and
512 MB that died of the cause in its row. physgdb reads only its memory. A cell passes only if the
result equals what the guest reported while it was running, or printed as it died: "slide" also
checks the cause of death; "ps" is compared with /proc, "bt" with the Call Trace, "stacks" with
/proc/PID/stack of every sleeping task, "dmesg" with the serial console, "modules" with
/proc/modules and /sys/module, "kallsyms" with every line of /proc/kallsyms, "types" with the sizes
and offsets of structs in the vmlinux of the debug package. "gdb" and "lldb" are started without a
file. "attach" reads a variable of a user program.

"–" means that there is nothing to compare with: modules of these kernels are no longer published,
and the debug package is used for one machine of each of four kernels.

`

// columns returns the titles of the table.
func columns() []string {
	titles := []string{"kernel", "flavour", "paging", "death", "release"}
	for _, c := range checks {
		titles = append(titles, c.name)
	}
	return append(titles, "time")
}

// line returns the row as a line of the table.
func (r *row) line() string {
	cells := append([]string{r.series, r.flavour, r.paging(), r.death, r.release}, r.cells...)
	return "| " + strings.Join(append(cells, fmt.Sprintf("%.0f s", r.took.Seconds())), " | ") + " |"
}

// key returns the beginning of the machine's line in the table.
func (s spec) key() string {
	return fmt.Sprintf("| %s | %s | %s | %s |", s.series, s.flavour, s.paging(), s.death)
}

// save writes rows into the table in a file, in place of earlier rows of the same machines, and
// keeps the other rows.
func save(file string, rows []row) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lines := map[string]string{}
	for _, s := range matrix() {
		for line := range strings.Lines(string(old)) {
			if strings.HasPrefix(line, s.key()) {
				lines[s.key()] = strings.TrimSpace(line)
			}
		}
	}
	for _, r := range rows {
		lines[r.key()] = r.line()
	}
	var text strings.Builder
	text.WriteString(preface)
	fmt.Fprintf(&text, "| %s |\n|%s\n", strings.Join(columns(), " | "), strings.Repeat("---|", len(columns())))
	for _, s := range matrix() {
		if line, ok := lines[s.key()]; ok {
			fmt.Fprintln(&text, line)
		}
	}
	return os.WriteFile(file, []byte(text.String()), 0o644)
}

// cell returns the text for the result of a check.
func cell(err error) string {
	if err == nil {
		return "pass"
	}
	if errors.Is(err, errAbsent) {
		return "–"
	}
	reason, _, _ := strings.Cut(err.Error(), "\n")
	letters := []rune(strings.ReplaceAll(reason, "|", "/"))
	return "**FAIL** " + string(letters[:min(len(letters), 80)])
}
