package verify

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"

	"physgdb/test/guest"
	"physgdb/test/session"
)

// GDBFrame matches a frame in a backtrace of gdb: number, address and function.
var GDBFrame = regexp.MustCompile(`(?m)^#(\d+)\s+(?:0x([0-9a-f]+) in )?(\S+) \(.*$`)

// GDBCallTrace compares a backtrace of a gdb without a file with the kernel's Call Trace, by the
// names that gdb prints.
func GDBCallTrace(facts *guest.Facts, bt string) error {
	want := CallTrace(facts)
	for i, name := range want {
		want[i], _, _ = strings.Cut(name, " [")
	}
	var got []string
	for _, m := range GDBFrame.FindAllStringSubmatch(bt, -1) {
		if m[3] != "??" {
			got = append(got, strings.Replace(m[3], "[cold]", ".cold", 1))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("gdb's bt differs from the Call Trace (-log +gdb):\n%s\n%s", diff, bt)
	}
	return nil
}

// gdbThread returns the number of a task's thread in gdb: an idle task has that of its CPU.
func (tr *Trace) gdbThread() int {
	if tr.TID == 0 {
		return 10_000_000 + tr.CPU
	}
	return tr.TID
}

var gdbStack = regexp.MustCompile(`(?m)^Thread \d+ \(Thread 1\.(\d+) `)

// gdbStacks cuts `thread apply all bt` into the threads' stacks, by their numbers.
func gdbStacks(out string) map[int]string {
	stacks := map[int]string{}
	heads := gdbStack.FindAllStringSubmatchIndex(out, -1)
	for i, m := range heads {
		end := len(out)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		id, err := strconv.Atoi(out[m[2]:m[3]])
		if err != nil {
			continue
		}
		stacks[id] = out[m[0]:end]
	}
	return stacks
}

// GDBStacks compares `thread apply all bt` of a gdb without a file with physgdb's own traces, which
// other tests compare with what the guest reported.
func GDBStacks(traces []Trace, out string) error {
	byID := map[int]*Trace{}
	for i := range traces {
		byID[traces[i].gdbThread()] = &traces[i]
	}
	var errs []error
	shown := gdbStacks(out)
	for id, bt := range shown {
		tr := byID[id]
		if tr == nil {
			errs = append(errs, fmt.Errorf("thread %d is not a task:\n%s", id, bt))
			continue
		}
		if diff := cmp.Diff(tr.Addresses(), hexes(session.Frames(bt))); diff != "" || strings.Contains(bt, "Backtrace stopped") {
			errs = append(errs, fmt.Errorf("gdb's stack of thread %d %s (-physgdb +gdb):\n%s\n%s", id, tr.Comm, diff, bt))
		}
	}
	if len(shown) != len(traces) {
		errs = append(errs, fmt.Errorf("gdb shows %d stacks for %d tasks", len(shown), len(traces)))
	}
	return errors.Join(errs...)
}

func hexes(addrs []uint64) []string {
	var texts []string
	for _, a := range addrs {
		texts = append(texts, fmt.Sprintf("%#x", a))
	}
	return texts
}

var lldbThread = regexp.MustCompile(`(?m)^[* ] thread #`)

// lldbBorder is a frame for the registers that were saved at an interrupt.
var lldbBorder = regexp.MustCompile(`(?m)^.* frame #\d+: \S+ \S+` + "`" + `\[[a-z-]+\].*$`)

// LLDBStacks compares lldb's `bt all` with physgdb's own traces: every stack must reach the first
// function of its task, or user space, where lldb continues by frame pointers. The first task began
// in assembly without a caller's frame; on 6.12 lldb omits that frame. It also omits the frame of a
// 32-bit program, whose stack pointer is not aligned to 8 bytes.
func LLDBStacks(traces []Trace, out string) error {
	left := slices.Clone(traces)
	var errs []error
	for _, bt := range lldbThread.Split(out, -1)[1:] {
		frames := hexes(session.Frames(lldbBorder.ReplaceAllString(bt, "")))
		i := slices.IndexFunc(left, func(tr Trace) bool {
			at := tr.Addresses()
			if tr.Comm == "swapper/0" || tr.compat() {
				at = at[:len(at)-1]
			}
			return len(frames) >= len(at) && slices.Equal(frames[:len(at)], at)
		})
		if i < 0 {
			errs = append(errs, fmt.Errorf("no task has this stack of lldb:\n%s", bt))
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	for i := range left {
		errs = append(errs, fmt.Errorf("%d %s is missing in lldb; its frames are %+v", left[i].TID, left[i].Comm, left[i].Frames))
	}
	return errors.Join(errs...)
}
