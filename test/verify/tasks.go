package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"physgdb/test/guest"
)

// Task is a line of `physgdb ps --json`.
type Task struct {
	PID, TID, PPID int
	State, Comm    string
	Kind           string
	Running        bool
}

// JSONLines decodes the output of a command that prints one JSON object a line.
func JSONLines[T any](out string) ([]T, error) {
	var all []T
	d := json.NewDecoder(strings.NewReader(out))
	for d.More() {
		var v T
		if err := d.Decode(&v); err != nil {
			return nil, fmt.Errorf("decode JSON lines: %w in\n%.2000s", err, out)
		}
		all = append(all, v)
	}
	return all, nil
}

// Tasks compares the output of `ps --json` with the threads that the guest listed just before its
// panic. Kernel workers may have ended since, and threads may have started. All others must be
// listed, and nothing else.
func Tasks(facts *guest.Facts, out string) error {
	tasks, err := JSONLines[Task](out)
	if err != nil {
		return err
	}
	found := map[int]Task{}
	for _, p := range tasks {
		if p.Kind != "idle" {
			found[p.TID] = p
		}
	}
	var errs []error
	last := 0
	for _, want := range facts.Threads {
		last = max(last, want.TID)
		got, ok := found[want.TID]
		delete(found, want.TID)
		comm, worker := want.Comm, strings.HasPrefix(want.Comm, "kworker/")
		if worker { // /proc appends the worker's queue
			comm, _, _ = strings.Cut(strings.ReplaceAll(comm, "+", "-"), "-")
			got.Comm, _, _ = strings.Cut(got.Comm, "-")
		}
		switch {
		case !ok && worker:
		case !ok:
			errs = append(errs, fmt.Errorf("%d %s is missing", want.TID, want.Comm))
		case got.PID != want.PID || got.Comm != comm || (got.Kind == "kernel") != want.Kernel || got.PPID != want.PPID:
			errs = append(errs, fmt.Errorf("%+v, want %+v", got, want))
		}
	}
	for tid, p := range found {
		if tid <= last {
			errs = append(errs, fmt.Errorf("%+v was not listed by the guest", p))
		}
	}
	return errors.Join(errs...)
}
