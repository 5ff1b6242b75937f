package render

import (
	"fmt"
	"strconv"
	"strings"

	"physgdb/cmd/internal/query"
)

// ProcessRows returns processes as rows of gdb's `info os processes`.
func ProcessRows(processes []query.Process) [][]string {
	rows := make([][]string, len(processes))
	for i, p := range processes {
		cores := make([]string, len(p.CPUs))
		for i, cpu := range p.CPUs {
			cores[i] = strconv.Itoa(cpu)
		}
		rows[i] = []string{strconv.Itoa(p.PID), userText(p.UID), commandText(&p), strings.Join(cores, ",")}
	}
	return rows
}

// commandText returns the name of a process for users that want to attach to it: number 1 is the
// machine as a whole, not init.
func commandText(p *query.Process) string {
	if p.PID == 1 {
		return p.Comm + " (attach 1: the whole machine)"
	}
	return p.Comm
}

// userText returns a user's name, or number: the machine's own names are in its files.
func userText(uid int) string {
	switch uid {
	case 0:
		return "root"
	case -1:
		return "?"
	}
	return strconv.Itoa(uid)
}

// ThreadRows returns tasks as rows of gdb's `info os threads`.
func ThreadRows(tasks []query.Task) [][]string {
	rows := make([][]string, len(tasks))
	for i, t := range tasks {
		rows[i] = []string{strconv.Itoa(t.PID), t.Comm, strconv.Itoa(t.TID), strconv.Itoa(t.CPU), t.State}
	}
	return rows
}

// FileRows returns open files as rows of gdb's `info os files`.
func FileRows(files []query.OpenFile) [][]string {
	rows := make([][]string, len(files))
	for i, f := range files {
		rows[i] = []string{strconv.Itoa(f.PID), f.Comm, strconv.Itoa(f.FD), f.Name}
	}
	return rows
}

// ModuleRows returns modules as rows of gdb's `info os modules`.
func ModuleRows(modules []query.Module) [][]string {
	rows := make([][]string, len(modules))
	for i, m := range modules {
		rows[i] = []string{
			m.Name, strconv.FormatUint(m.Size, 10), strconv.Itoa(m.Refs), strings.Join(m.UsedBy, ","), m.State, fmt.Sprintf("%v", m.Base),
		}
	}
	return rows
}
