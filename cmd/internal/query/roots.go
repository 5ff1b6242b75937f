package host

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"physgdb/bridge"
	"physgdb/internal/plain"
	"physgdb/mmu"
	"physgdb/symbols/linux"
)

func cr3Command() Command {
	return Command{
		Name: "cr3", Args: "[PID|NAME|kernel|panic|HEX]...",
		Help: "the roots of address spaces: of the kernel, of the task that panicked, of processes",
		About: `What it prints fits --cr3 of the other commands. NAME is that of a program that said hello, or of a process.

Examples:
  physgdb cr3 file:/tmp/ram
  physgdb cr3 file:/tmp/ram 143 nginx`,
		Options: []Option{jsonOption("name, cr3, pid, comm")},
		prepare: func(r *request) (Answer, error) {
			return func(ctx context.Context, m *Machine, w io.Writer) error {
				return m.writeRoots(ctx, w, r.args, r.on("json"))
			}, nil
		},
	}
}

// root is the root of an address space, as JSON shows it.
type root struct {
	Name string  `json:"name"` // by which the command finds it
	CR3  address `json:"cr3"`
	PID  int     `json:"pid,omitempty"`
	Comm string  `json:"comm,omitempty"` // of the process
}

func (r *root) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return plain.WriteJSON(w, r)
	}
	fmt.Fprintf(w, "%s %v", plain.Line(r.Name), r.CR3)
	if r.Comm != "" {
		fmt.Fprintf(w, " %s", plain.Line(r.Comm))
	}
	_, err := fmt.Fprintln(w)
	return err
}

// writeRoots shows the roots that words name, or all that are known.
func (m *Machine) writeRoots(ctx context.Context, w io.Writer, words []string, asJSON bool) error {
	var roots []root
	var missing error
	if len(words) == 0 {
		roots, missing = m.roots(ctx)
	}
	for _, word := range words {
		r, err := m.rootNamed(ctx, word)
		if err != nil {
			missing = errors.Join(missing, err)
			continue
		}
		roots = append(roots, *r)
	}
	out := bufio.NewWriter(w)
	for i := range roots {
		if err := roots[i].write(out, asJSON); err != nil {
			return err
		}
	}
	if missing != nil {
		missing = fmt.Errorf("cr3: %w", missing)
	}
	return cmp.Or(out.Flush(), missing)
}

// roots lists what is known: the kernel's own, that of the panic, those of programs that said hello, and those of
// processes.
func (m *Machine) roots(ctx context.Context) ([]root, error) {
	roots := []root{{Name: "kernel", CR3: address(m.Kernel.Root.CR3)}}
	if r := m.panicRoot(ctx); r != nil {
		roots = append(roots, *r)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Hellos)) {
		roots = append(roots, root{Name: name, CR3: address(m.Hellos[name].CR3)})
	}
	if m.Kernel.Symbols == nil {
		return roots, nil
	}
	list, err := m.Kernel.Tasks(ctx)
	if err != nil {
		return roots, fmt.Errorf("the processes are not known: %w", err)
	}
	damage := slices.Clone(list.Damage)
	for _, t := range list.All {
		if t.MM == 0 || t.PID != t.TGID {
			continue
		}
		r, err := m.taskRoot(ctx, t)
		if err != nil {
			damage = append(damage, err)
			continue
		}
		roots = append(roots, *r)
	}
	return roots, listDamage("processes", damage)
}

// panicRoot returns the root of the task that panicked, by the notice or by memory, or nil.
func (m *Machine) panicRoot(ctx context.Context) *root {
	if m.Notice != nil {
		return &root{Name: "panic", CR3: address(m.Notice.CR3)}
	}
	if m.Kernel.Symbols == nil {
		return nil
	}
	task := m.deadTask(ctx)
	if task == nil {
		return nil
	}
	r, err := m.taskRoot(ctx, task)
	if err != nil {
		return nil
	}
	r.Name = "panic"
	return r
}

// taskRoot returns the root of a task's address space.
func (m *Machine) taskRoot(ctx context.Context, t *linux.Task) (*root, error) {
	cr3, err := m.Kernel.TaskCR3(ctx, t)
	if err != nil {
		return nil, err
	}
	return &root{Name: fmt.Sprint(t.PID), CR3: address(cr3), PID: t.PID, Comm: t.Comm}, nil
}

// rootNamed finds the root that a user means by a word. A CR3 must have its 0x: without, a pid that is not there would be
// taken for one.
func (m *Machine) rootNamed(ctx context.Context, word string) (*root, error) {
	if word == "kernel" {
		return &root{Name: word, CR3: address(m.Kernel.Root.CR3)}, nil
	}
	if word == "panic" {
		if r := m.panicRoot(ctx); r != nil {
			return r, nil
		}
	}
	n, helloErr := m.hello(strings.TrimPrefix(word, helloPrefix))
	if helloErr == nil {
		return &root{Name: word, CR3: address(n.CR3)}, nil
	}
	if t := m.taskNamed(ctx, word); t != nil {
		return m.taskRoot(ctx, t)
	}
	v, err := bridge.ParseAddr(word)
	switch isHex := err == nil && strings.HasPrefix(word, "0x"); {
	case !isHex && len(m.Hellos) == 0 && !strings.HasPrefix(word, helloPrefix):
		return nil, fmt.Errorf("%q is neither a task (see ps) nor kernel nor panic nor a CR3 such as 0x1000", word)
	case !isHex:
		return nil, fmt.Errorf("%q is neither a task (see ps) nor kernel nor panic nor a CR3 such as 0x1000, and %w", word,
			helloErr)
	}
	return &root{Name: word, CR3: address(v)}, nil
}

// SpaceNamed returns the address space that a user means by a word: the pid or name of a task, kernel, panic, the name of a
// program that said hello, or a CR3 such as 0x1000.
func (m *Machine) SpaceNamed(ctx context.Context, word string) (*mmu.Space, error) {
	r, err := m.rootNamed(ctx, word)
	if err != nil {
		return nil, err
	}
	return m.Kernel.SpaceOf(ctx, uint64(r.CR3))
}

// taskNamed returns the first task that a word names, or nil: also where the tasks are not known, as there are other ways
// to name a root.
func (m *Machine) taskNamed(ctx context.Context, word string) *linux.Task {
	if m.Kernel.Symbols == nil || strings.HasPrefix(word, "0x") {
		return nil
	}
	list, err := m.Kernel.Tasks(ctx)
	if err != nil {
		return nil
	}
	if found := named(list, word); len(found) > 0 {
		return found[0]
	}
	return nil
}
