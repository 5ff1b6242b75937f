package target

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strconv"

	"physgdb/cmd/internal/machine"
	"physgdb/internal/plain"
	"physgdb/mmu"
	"physgdb/symbols/linux"
)

// procMaps matches what gdb reads of a program under its ABI for Linux: for `info proc mappings`,
// for `gcore`, and to find where the vDSO ends.
var procMaps = regexp.MustCompile(`^/proc/([1-9][0-9]{0,9})(?:/task/([1-9][0-9]{0,9}))?/maps$`)

// makeMaps makes the file of a process or of one of its threads whose name matches procMaps.
func makeMaps(ctx context.Context, m *machine.Machine, name []string) ([]byte, error) {
	if err := m.NeedSymbols(); err != nil {
		return nil, err
	}
	list, err := m.Kernel.Tasks(ctx)
	if err != nil {
		return nil, err
	}
	task := taskOfPath(list, name[1], name[2])
	if task == nil {
		return nil, fs.ErrNotExist
	}
	if task.MM == 0 {
		return nil, nil // as the kernel has it for its own threads
	}
	space, err := m.Kernel.TaskSpace(ctx, task)
	if err != nil {
		return nil, err
	}
	regions, err := listRegions(ctx, space, mmu.Lower, nil)
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	writeMaps(plain.NewWriter(&content), regions)
	return content.Bytes(), nil
}

// taskOfPath finds the task of /proc/PID or /proc/PID/task/TID, or nil. tid is "" for a process.
func taskOfPath(list *linux.TaskList, pid, tid string) *linux.Task {
	process, err := strconv.Atoi(pid)
	thread := process
	if tid != "" && err == nil {
		thread, err = strconv.Atoi(tid)
	}
	if err != nil {
		return nil
	}
	i := slices.IndexFunc(list.All, func(t *linux.Task) bool { return t.PID == thread && !t.Idle })
	if i < 0 || tid != "" && list.All[i].TGID != process {
		return nil
	}
	return list.All[i]
}

// writeMaps writes regions as /proc/PID/maps has them (show_vma_header_prefix(),
// fs/proc/task_mmu.c). They are those of the page tables: what is not in memory is left out, what
// is to be copied at a write is not writable, and no file is known.
func writeMaps(w io.Writer, regions regionList) {
	for _, r := range regions {
		rights := []byte("r--p")
		if r.Write {
			rights[1] = 'w'
		}
		if r.Execute {
			rights[2] = 'x'
		}
		fmt.Fprintf(w, "%08x-%08x %s 00000000 00:00 0\n", r.First, r.Last+1, rights)
	}
}
