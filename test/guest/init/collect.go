package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"physgdb/test/guest/witness"
)

// collect asks the living kernel for everything that tests will compare.
func collect(c *clock) (*witness.Facts, error) {
	r := &reader{}
	f := &witness.Facts{
		Release:    strings.TrimSpace(r.text("/proc/sys/kernel/osrelease")),
		Cmdline:    strings.TrimSpace(r.text("/proc/cmdline")),
		IOMem:      r.text("/proc/iomem"),
		Modules:    r.text("/proc/modules"),
		VMCoreInfo: strings.TrimSpace(r.text("/sys/kernel/vmcoreinfo")),
		CPUs:       runtime.NumCPU(),
		Kallsyms:   sample(r.text("/proc/kallsyms")),
		ClockPID:   c.pid,
		ClockHello: c.hello,
		Processes:  r.processes(),
	}
	return f, r.err
}

// reader reads files and keeps the first error.
type reader struct{ err error }

func (r *reader) text(path string) string {
	data, err := os.ReadFile(path)
	if err != nil && r.err == nil {
		r.err = err
	}
	return string(data)
}

// processes lists /proc. Those that end meanwhile are left out.
func (r *reader) processes() []witness.Process {
	pids, err := numbers("/proc")
	if err != nil && r.err == nil {
		r.err = err
	}
	var all []witness.Process
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d", pid)
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue
		}
		threads, err := numbers(filepath.Join(dir, "task"))
		if err != nil {
			continue
		}
		p := parseStat(string(stat))
		p.PID, p.Threads = pid, threads
		all = append(all, p)
	}
	return all
}

// parseStat reads /proc/PID/stat: the name stands in parentheses and may itself hold some.
func parseStat(stat string) (p witness.Process) {
	first, last := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	p.Comm = stat[first+1 : last]
	if fields := strings.Fields(stat[last+1:]); len(fields) > 1 {
		p.PPID, _ = strconv.Atoi(fields[1])
	}
	return p
}

// numbers returns the names in a directory that are numbers, in order.
func numbers(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []int
	for _, entry := range entries {
		if n, err := strconv.Atoi(entry.Name()); err == nil {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, nil
}
