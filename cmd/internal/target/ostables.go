package host

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"physgdb/symbols/linux/vfs"

	"physgdb/gdbstub"
	"physgdb/symbols/linux"
)

// OSTables are what gdb shows by `info os`. VS Code lets a user pick from the processes.
func (s *session) OSTables() []gdbstub.OSTable {
	return []gdbstub.OSTable{
		{
			Name: "processes", Title: "Processes", Description: "Listing of all processes",
			Columns: []string{"pid", "user", "command", "cores"}, Rows: s.processRows,
		},
		{
			Name: "threads", Title: "Threads", Description: "Listing of all threads, those of the kernel included",
			Columns: []string{"pid", "command", "tid", "core", "state"}, Rows: s.threadRows,
		},
		{
			Name: "files", Title: "Open files", Description: "Listing of all files that processes had open",
			Columns: []string{"pid", "command", "file descriptor", "name"}, Rows: s.fileRows,
		},
		{
			Name: "modules", Title: "Kernel modules", Description: "Listing of all loaded kernel modules",
			Columns: []string{"name", "size", "num uses", "dependencies", "status", "address"}, Rows: s.moduleRows,
		},
	}
}

func (s *session) processRows(ctx context.Context) ([][]string, error) {
	list, err := s.m.Kernel.Tasks(ctx)
	if err != nil {
		return nil, err
	}
	var leaders []*linux.Task
	cores := map[int][]string{} // of all threads, by tgid
	for _, t := range list.All {
		if t.Idle {
			continue
		}
		if t.PID == t.TGID {
			leaders = append(leaders, t)
		}
		cores[t.TGID] = append(cores[t.TGID], strconv.Itoa(t.CPU))
	}
	uids, err := s.m.Kernel.UIDs(ctx, leaders)
	if err != nil {
		return nil, err
	}
	rows := make([][]string, len(leaders))
	for i, t := range leaders {
		rows[i] = []string{strconv.Itoa(t.PID), userText(uids[i]), commandText(t), strings.Join(cores[t.TGID], ",")}
	}
	return rows, nil
}

// commandText names a process for who wants to attach to one: number 1 is the machine as a whole, and only then init.
func commandText(t *linux.Task) string {
	if t.PID == 1 {
		return t.Comm + " (attach 1: the whole machine)"
	}
	return t.Comm
}

// userText names a user. The machine's own names for the others were in its files.
func userText(uid int) string {
	switch uid {
	case 0:
		return "root"
	case -1:
		return "?"
	}
	return strconv.Itoa(uid)
}

func (s *session) threadRows(ctx context.Context) ([][]string, error) {
	list, err := s.m.Kernel.Tasks(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([][]string, len(list.All))
	for i, t := range list.All {
		rows[i] = []string{
			strconv.Itoa(t.TGID), t.Comm, strconv.Itoa(t.PID), strconv.Itoa(t.CPU), fmt.Sprintf("%c", t.Letter()),
		}
	}
	return rows, nil
}

func (s *session) fileRows(ctx context.Context) ([][]string, error) {
	list, err := s.m.Kernel.Tasks(ctx)
	if err != nil {
		return nil, err
	}
	tasks := ofProcesses(list)
	files, damage, err := vfs.OpenFiles(ctx, s.m.Kernel, tasks)
	if err != nil {
		return nil, err
	}
	if err := listDamage("open files", damage); err != nil {
		s.m.log.Warn(err.Error())
	}
	var rows [][]string
	for i, t := range tasks {
		for _, f := range files[i] {
			rows = append(rows, []string{strconv.Itoa(t.TGID), t.Comm, strconv.Itoa(f.FD), f.Name})
		}
	}
	return rows, nil
}

// ofProcesses returns one task of each process: the first that has not exited, as others may go on without that which began it.
func ofProcesses(list *linux.TaskList) []*linux.Task {
	var tasks []*linux.Task
	seen := map[int]bool{}
	for _, t := range list.All {
		if t.Idle || t.Kernel || t.Exited() || seen[t.TGID] {
			continue
		}
		seen[t.TGID] = true
		tasks = append(tasks, t)
	}
	return tasks
}

func (s *session) moduleRows(ctx context.Context) ([][]string, error) {
	list, err := s.m.Kernel.Modules(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([][]string, len(list.All))
	for i, m := range list.All {
		rows[i] = []string{
			m.Name, strconv.FormatUint(m.Size(), 10), strconv.Itoa(m.Refs), strings.Join(m.UsedBy, ","), m.State.String(),
			fmt.Sprintf("%#x", m.Base()),
		}
	}
	return rows, nil
}
