package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"physgdb/test/guest/witness"
)

// sleepStacks returns the stacks of all sleeping threads as JSON: a list of [witness.Stack].
// Threads that run between two reads are omitted.
func sleepStacks() (string, error) {
	before, err := stacks()
	if err != nil {
		return "", err
	}
	after, err := stacks()
	if err != nil {
		return "", err
	}
	var all []witness.Stack
	for tid, s := range after {
		if first, ok := before[tid]; ok && first.Stack == s.Stack {
			all = append(all, s)
		}
	}
	text, err := json.Marshal(all)
	return string(text), err
}

// stacks reads the stack of each sleeping thread except those of this process.
func stacks() (map[int]witness.Stack, error) {
	threads, err := listThreads()
	if err != nil {
		return nil, err
	}
	all := map[int]witness.Stack{}
	for _, t := range threads {
		if t.PID == os.Getpid() || !strings.Contains("SDTIt", t.State) {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stack", t.PID, t.TID))
		if err != nil {
			continue // it has ended
		}
		all[t.TID] = witness.Stack{TID: t.TID, Comm: t.Comm, Stack: string(text)}
	}
	return all, nil
}
