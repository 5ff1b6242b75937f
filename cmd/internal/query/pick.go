package query

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"physgdb/cmd/internal/machine"
	"physgdb/symbols/linux"
)

// pick returns the tasks that the user named: by the number of a process, which selects all its
// threads, or of one thread, or by a name, in which * matches any text. Without words it returns
// every task. The error names the words without a task.
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
	is := func(t *linux.Task) bool { return matchesName(t.Comm, word) }
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

// matchesName reports whether a name matches a pattern with at most one *.
func matchesName(name, pattern string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return name == pattern
	}
	return len(name) >= len(before)+len(after) && strings.HasPrefix(name, before) && strings.HasSuffix(name, after)
}

// running returns the CPUs on which tasks were running, by their task_struct.
func running(ctx context.Context, m *machine.Machine) (map[uint64]*linux.CPU, error) {
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
