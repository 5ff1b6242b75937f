package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"physgdb/test/guest/witness"
)

// holdStill stops the clock, so that its memory does not change, and reports its resident pages.
func holdStill(c *clock) (*witness.Still, error) {
	if err := unix.Kill(c.pid, unix.SIGSTOP); err != nil {
		return nil, fmt.Errorf("stop the clock: %w", err)
	}
	for !allStopped(c.pid) {
		time.Sleep(time.Millisecond)
	}
	r := &reader{}
	s := &witness.Still{ClockMaps: r.text(fmt.Sprintf("/proc/%d/maps", c.pid))}
	if r.err != nil {
		return nil, r.err
	}
	var err error
	if s.ClockFiles, err = openFiles(c.pid); err != nil {
		return nil, err
	}
	s.ClockPages, err = residentPages(c.pid, s.ClockMaps)
	return s, err
}

// openFiles returns the names of a process's open files.
func openFiles(pid int) (map[int]string, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := numbers(dir)
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, fd := range fds {
		if names[fd], err = os.Readlink(fmt.Sprintf("%s/%d", dir, fd)); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// allStopped reports whether every thread of a process has stopped.
func allStopped(pid int) bool {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	threads, err := numbers(dir)
	for _, tid := range threads {
		stat, err := os.ReadFile(fmt.Sprintf("%s/%d/stat", dir, tid))
		if err != nil || !strings.Contains(string(stat), ") T ") {
			return false
		}
	}
	return err == nil
}

// residentPages lists the user pages that are present according to the kernel
// (Documentation/admin-guide/mm/pagemap.rst).
func residentPages(pid int, maps string) (pages []uint64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const pageSize, present, userEnd = 4096, 1 << 63, 1 << 63
	for line := range strings.Lines(maps) {
		var start, end uint64
		if _, err := fmt.Sscanf(line, "%x-%x", &start, &end); err != nil {
			return nil, fmt.Errorf("maps of the clock: %q: %w", line, err)
		}
		if start >= userEnd {
			continue // vsyscall is the kernel's
		}
		entries := make([]byte, (end-start)/pageSize*8)
		if _, err := f.ReadAt(entries, int64(start/pageSize*8)); err != nil {
			return nil, fmt.Errorf("pagemap of the clock from %#x: %w", start, err)
		}
		for i := 0; i < len(entries); i += 8 {
			if binary.LittleEndian.Uint64(entries[i:])&present != 0 {
				pages = append(pages, start+uint64(i/8)*pageSize)
			}
		}
	}
	return pages, nil
}
