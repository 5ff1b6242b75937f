package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"physgdb/test/session"
)

// gdb runs gdb without a file on the guest. The result holds what the stub said on stderr.
func (m *machine) gdb(ctx context.Context, commands ...string) ([]session.Step, *session.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	stub, address, err := m.physgdb.Serve(ctx, m.guest.Source(), "--symbols", "ram")
	if err != nil {
		return nil, nil, err
	}
	steps, err := session.GDB(ctx, "", append([]string{"target remote " + address}, commands...)...)
	if stopErr := stub.Stop(); err == nil {
		err = stopErr
	}
	return steps, &session.Result{Stderr: stub.Stderr()}, err
}

var gdbFunction = regexp.MustCompile(`(?m)^#\d+ +(?:0x[0-9a-f]+ in )?(\S+) \(`)

func checkGDBBacktrace(ctx context.Context, m *machine) cell {
	steps, r, err := m.gdb(ctx, "set print frame-arguments none", "bt")
	if err != nil {
		return cell{failed, err.Error()}
	}
	bt := session.Find(steps, "bt")
	var got []string
	for _, found := range gdbFunction.FindAllStringSubmatch(bt, -1) {
		if found[1] != "??" { // user space
			got = append(got, strings.Replace(found[1], "[cold]", ".cold", 1))
		}
	}
	differences := differ(m.callTrace(), got)
	if len(differences) > 0 {
		r.Stderr += steps[0].Output
	}
	return judged(r, differences, fmt.Sprintf("%d frames", len(got)))
}

var gdbThread = regexp.MustCompile(`(?m)^Thread \d+ \(Thread 1\.(\d+) `)

func checkGDBThreads(ctx context.Context, m *machine) cell {
	const all = "thread apply all bt"
	steps, r, err := m.gdb(ctx, "set print frame-arguments none", all)
	if err != nil {
		return cell{failed, err.Error()}
	}
	out := session.Find(steps, all)
	heads := gdbThread.FindAllStringSubmatchIndex(out, -1)
	frames := map[int][]uint64{}
	for i, head := range heads {
		end := len(out)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		id, err := strconv.Atoi(out[head[2]:head[3]])
		if err != nil {
			return cell{failed, err.Error()}
		}
		frames[id] = session.Frames(out[head[0]:end])
	}
	var differences []string
	if len(frames) < 2 || len(frames) != len(m.traces) {
		differences = append(differences, fmt.Sprintf("%d threads, bt all has %d", len(frames), len(m.traces)))
	}
	for i := range m.traces {
		t := &m.traces[i]
		if text := differ(t.addresses(), hexes(frames[t.gdbID()])); text != nil {
			differences = append(differences, fmt.Sprintf("thread %d %s: %s", t.TID, t.Comm, strings.Join(text, "\n")))
		}
	}
	if len(differences) > 0 {
		r.Stderr += steps[0].Output
	}
	return judged(r, differences, fmt.Sprintf("%d threads", len(frames)))
}

// gdbID is the number of a task's thread in gdb: an idle task has one that is made of its CPU's.
func (t *trace) gdbID() int {
	const idle = 10_000_000
	if t.TID == 0 {
		return idle + t.CPU
	}
	return t.TID
}

// addresses returns the addresses of a trace in hex, with the one in user space.
func (t *trace) addresses() []string {
	var all []string
	for _, f := range t.Frames {
		all = append(all, f.PC)
	}
	if t.User != nil {
		all = append(all, t.User.RIP)
	}
	return all
}

func hexes(addrs []uint64) []string {
	var texts []string
	for _, a := range addrs {
		texts = append(texts, fmt.Sprintf("%#x", a))
	}
	return texts
}

// typeQuestions are expressions about types whose values differ from kernel to kernel.
var typeQuestions = []string{
	"print sizeof(struct task_struct)", "print &((struct task_struct*)0)->comm", "print &((struct task_struct*)0)->pid",
	"print sizeof(struct mm_struct)", "print &((struct mm_struct*)0)->pgd", "print sizeof(struct module)",
	"print &((struct module*)0)->list", "print sizeof(struct file)", "print &((struct file*)0)->f_op",
	"print sizeof(struct cred)", "print &((struct cred*)0)->uid",
}

func checkGDBTypes(ctx context.Context, m *machine) cell {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	want, err := session.GDB(ctx, m.guest.Kernel.Vmlinux, typeQuestions...)
	if err != nil {
		return cell{failed, err.Error()}
	}
	got, r, err := m.gdb(ctx, append(typeQuestions, "ptype struct task_struct")...)
	if err != nil {
		return cell{failed, err.Error()}
	}
	var differences []string
	for _, question := range typeQuestions {
		w, g := session.Find(want, question), session.Find(got, question)
		if session.Value(w) == "" {
			return cell{failed, "gdb on the vmlinux: " + w}
		}
		if session.Value(w) != session.Value(g) {
			differences = append(differences, fmt.Sprintf("%s: %s; by the vmlinux %s", question, g, session.Value(w)))
		}
	}
	if text := session.Find(got, "ptype struct task_struct"); !strings.Contains(text, "comm[16]") {
		differences = append(differences, "ptype struct task_struct: "+firstLine(text))
	}
	if len(differences) > 0 {
		r.Stderr += got[0].Output
	}
	return judged(r, differences, fmt.Sprintf("%d values", len(typeQuestions)))
}

// firstLine returns a text up to its first newline.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
