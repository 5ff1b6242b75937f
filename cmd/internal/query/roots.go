package query

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"physgdb/bridge"
	"physgdb/cmd/internal/machine"
	"physgdb/mmu"
	"physgdb/symbols/linux"
)

// Root is the root of an address space.
type Root struct {
	Name string  `json:"name"` // by which the command finds it
	CR3  Address `json:"cr3"`
	PID  int     `json:"pid,omitempty"`  // of the process
	Comm string  `json:"comm,omitempty"` // of the process
}

// Roots returns the roots that words name, or all that are known.
func Roots(ctx context.Context, m *machine.Machine, words []string) ([]Root, error) {
	if len(words) == 0 {
		return allRoots(ctx, m)
	}
	var roots []Root
	var missing error
	for _, word := range words {
		r, err := RootNamed(ctx, m, word)
		if err != nil {
			missing = errors.Join(missing, err)
			continue
		}
		roots = append(roots, *r)
	}
	return roots, missing
}

// allRoots returns the roots of the kernel, of the panic, of programs that said hello, and of
// processes.
func allRoots(ctx context.Context, m *machine.Machine) ([]Root, error) {
	roots := []Root{{Name: "kernel", CR3: Address(m.Kernel.Root.CR3)}}
	if r := panicRoot(ctx, m); r != nil {
		roots = append(roots, *r)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Hellos)) {
		roots = append(roots, Root{Name: name, CR3: Address(m.Hellos[name].CR3)})
	}
	if m.Kernel.Symbols == nil {
		return roots, nil
	}
	tasks, err := m.Kernel.Tasks(ctx)
	if err != nil {
		return roots, fmt.Errorf("the processes are not known: %w", err)
	}
	damage := slices.Clone(tasks.Damage)
	for _, t := range tasks.All {
		if t.MM == 0 || t.PID != t.TGID {
			continue
		}
		r, err := taskRoot(ctx, m, t)
		if err != nil {
			damage = append(damage, err)
			continue
		}
		roots = append(roots, *r)
	}
	return roots, machine.NewDamageError("processes", damage)
}

// panicRoot returns the root of the task that panicked, by the notice or by memory, or nil.
func panicRoot(ctx context.Context, m *machine.Machine) *Root {
	if m.Notice != nil {
		return &Root{Name: "panic", CR3: Address(m.Notice.CR3)}
	}
	if m.Kernel.Symbols == nil {
		return nil
	}
	task := DeadTask(ctx, m)
	if task == nil {
		return nil
	}
	r, err := taskRoot(ctx, m, task)
	if err != nil {
		return nil
	}
	r.Name = "panic"
	return r
}

// taskRoot returns the root of a task's address space.
func taskRoot(ctx context.Context, m *machine.Machine, t *linux.Task) (*Root, error) {
	cr3, err := m.Kernel.TaskCR3(ctx, t)
	if err != nil {
		return nil, err
	}
	return &Root{Name: fmt.Sprint(t.PID), CR3: Address(cr3), PID: t.PID, Comm: t.Comm}, nil
}

// RootNamed returns the root that a word of the user names; see [SpaceNamed]. A CR3 must begin with
// 0x: otherwise a pid that does not exist would be taken for one.
func RootNamed(ctx context.Context, m *machine.Machine, word string) (*Root, error) {
	if word == "kernel" {
		return &Root{Name: word, CR3: Address(m.Kernel.Root.CR3)}, nil
	}
	if word == "panic" {
		if r := panicRoot(ctx, m); r != nil {
			return r, nil
		}
	}
	n, helloErr := m.Hello(strings.TrimPrefix(word, machine.HelloPrefix))
	if helloErr == nil {
		return &Root{Name: word, CR3: Address(n.CR3)}, nil
	}
	if t := taskNamed(ctx, m, word); t != nil {
		return taskRoot(ctx, m, t)
	}
	v, err := bridge.ParseAddr(word)
	switch isHex := err == nil && strings.HasPrefix(word, "0x"); {
	case !isHex && len(m.Hellos) == 0 && !strings.HasPrefix(word, machine.HelloPrefix):
		return nil, fmt.Errorf("%q is neither a task (see ps) nor kernel nor panic nor a CR3 such as 0x1000", word)
	case !isHex:
		return nil, fmt.Errorf("%q is neither a task (see ps) nor kernel nor panic nor a CR3 such as 0x1000, and %w", word,
			helloErr)
	}
	return &Root{Name: word, CR3: Address(v)}, nil
}

// SpaceNamed returns the address space that a user means by a word: the pid or name of a task,
// kernel, panic, the name of a program that said hello, or a CR3 such as 0x1000.
func SpaceNamed(ctx context.Context, m *machine.Machine, word string) (*mmu.Space, error) {
	r, err := RootNamed(ctx, m, word)
	if err != nil {
		return nil, err
	}
	return m.Kernel.SpaceOf(ctx, uint64(r.CR3))
}

// taskNamed returns the first task that a word names, or nil: also where the tasks are not known,
// as there are other ways to name a root.
func taskNamed(ctx context.Context, m *machine.Machine, word string) *linux.Task {
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
