package host

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"physgdb/symbols/linux"
)

// pick finds the tasks that a user names: all threads of a process or one thread by its number, or those of a name, in
// which * stands for anything. With no words it is every task. The error says which words name nothing.
func pick(list *linux.TaskList, words []string) ([]*linux.Task, error) {
	if len(words) == 0 {
		return list.All, nil
	}
	var picked []*linux.Task
	var missing []string
	for _, word := range words {
		found := named(list, word)
		if len(found) == 0 {
			missing = append(missing, strconv.Quote(word))
		}
		for _, t := range found {
			if !slices.Contains(picked, t) {
				picked = append(picked, t)
			}
		}
	}
	if len(missing) == 0 {
		return picked, nil
	}
	return picked, fmt.Errorf("there is no task %s (see ps)", strings.Join(missing, ", "))
}

func named(list *linux.TaskList, word string) []*linux.Task {
	is := func(t *linux.Task) bool { return likeName(t.Comm, word) }
	if pid, err := strconv.Atoi(word); err == nil {
		is = func(t *linux.Task) bool { return t.PID == pid || t.TGID == pid }
	}
	var found []*linux.Task
	for _, t := range list.All {
		if is(t) {
			found = append(found, t)
		}
	}
	return found
}

// likeName reports whether a name fits a pattern with at most one *.
func likeName(name, pattern string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return name == pattern
	}
	return len(name) >= len(before)+len(after) && strings.HasPrefix(name, before) && strings.HasSuffix(name, after)
}

// running returns the CPUs that tasks were running on, by their task_struct.
func (m *Machine) running(ctx context.Context) (map[uint64]*linux.CPU, error) {
	cpus, err := m.Kernel.CPUs(ctx)
	if err != nil {
		return nil, err
	}
	on := make(map[uint64]*linux.CPU, len(cpus))
	for i := range cpus {
		on[cpus[i].Current] = &cpus[i]
	}
	return on, nil
}

// listDamage says that a list is not whole, or returns nil.
func listDamage(what string, damage []error) error {
	if len(damage) == 0 {
		return nil
	}
	return fmt.Errorf("%s: the list is not whole: damaged places: %d, the first: %w", what, len(damage), damage[0])
}

// notFound says that what was asked for is not there or, if the list is not whole, that it may be missing from that. It is
// damage where nothing was missed.
func notFound(missing, damage error) error {
	switch {
	case missing == nil:
		return damage
	case damage == nil:
		return missing
	}
	return fmt.Errorf("%w, or it was lost: %w", missing, damage)
}
