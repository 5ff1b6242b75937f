package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"physgdb/test/guest/witness"
)

// reportThreads reports all threads until they do not change during the report.
func reportThreads(w *reporter) error {
	const attempts = 20
	now, err := listThreads()
	for range attempts {
		if err != nil {
			return err
		}
		if err := w.threads(now); err != nil {
			return err
		}
		before := now
		if now, err = listThreads(); slices.EqualFunc(before, now, sameThread) {
			return err
		}
	}
	return errors.New("the threads change all the time")
}

// sameThread compares threads except for their states.
func sameThread(a, b witness.Thread) bool { return a.TID == b.TID && a.Comm == b.Comm }

// listThreads lists the threads of all processes, ordered by process and thread id, without those
// that exit meanwhile.
func listThreads() ([]witness.Thread, error) {
	pids, err := numbers("/proc")
	if err != nil {
		return nil, err
	}
	var all []witness.Thread
	for _, pid := range pids {
		tids, err := numbers(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			continue
		}
		for _, tid := range tids {
			t, err := readThread(fmt.Sprintf("/proc/%d/task/%d", pid, tid))
			if errors.Is(err, errGone) {
				continue
			}
			if err != nil {
				return nil, err
			}
			t.PID, t.TID = pid, tid
			all = append(all, t)
		}
	}
	return all, nil
}

// errGone is the error for a thread that has exited.
var errGone = errors.New("no such thread any more")

// maxComm is TASK_COMM_LEN of include/linux/sched.h without the NUL.
const maxComm = 15

func readThread(dir string) (witness.Thread, error) {
	stat, err := readLine(filepath.Join(dir, "stat"))
	if err != nil {
		return witness.Thread{}, errGone
	}
	t, err := parseStat(stat)
	if err != nil {
		return t, fmt.Errorf("%s/stat: %w", dir, err)
	}
	if t.Kernel && (len(t.Comm) > maxComm || strings.HasPrefix(t.Comm, "kworker/")) {
		t.Comm, err = shortName(dir)
	}
	return t, err
}

// parseStat parses /proc/PID/stat: id, name, state, parent; the flags are field 9. The name is in
// parentheses and may itself contain some.
func parseStat(stat string) (t witness.Thread, err error) {
	const kernelThread = 0x200000 // PF_KTHREAD of include/linux/sched.h
	first, last := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if first < 0 || last < first {
		return t, fmt.Errorf("no name in %q", stat)
	}
	fields := strings.Fields(stat[last+1:])
	if len(fields) < 7 {
		return t, fmt.Errorf("too few fields in %q", stat)
	}
	t.Comm, t.State = stat[first+1:last], fields[0]
	if t.PPID, err = strconv.Atoi(fields[1]); err != nil {
		return t, fmt.Errorf("parent in %q: %w", stat, err)
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	if err != nil {
		return t, fmt.Errorf("flags in %q: %w", stat, err)
	}
	t.Kernel = flags&kernelThread != 0
	return t, nil
}

// shortName returns the comm of a kernel thread. In stat, some have a longer name, and kworkers
// their queue; the first line of sched, which takes the kernel ten times as long, has comm:
// "kworker/0:1 (11, #threads: 1)".
func shortName(dir string) (string, error) {
	line, err := readLine(filepath.Join(dir, "sched"))
	if err != nil {
		return "", errGone
	}
	end := strings.LastIndex(line, " (")
	if end < 0 {
		return "", fmt.Errorf("%s/sched begins with %q", dir, line)
	}
	return line[:end], nil
}

// readLine returns the first line of a file, as far as it fits into a page, with three system
// calls, because there may be thousands of threads and the guest is slow.
func readLine(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	page := make([]byte, 4096)
	n, err := unix.Read(fd, page)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(page[:n]), "\n")
	return line, nil
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
