package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"physgdb/test/session"
	"physgdb/test/verify"
)

// maxSession is the time limit for a session of gdb.
const maxSession = 10 * time.Minute

const (
	allStacks = "thread apply all bt"
	ptypeTask = "ptype struct task_struct"
)

// typeQuestions are expressions about types whose values differ from kernel to kernel.
var typeQuestions = []string{
	"print sizeof(struct task_struct)", "print &((struct task_struct*)0)->comm", "print &((struct task_struct*)0)->pid",
	"print sizeof(struct mm_struct)", "print &((struct mm_struct*)0)->pgd", "print sizeof(struct module)",
	"print &((struct module*)0)->list", "print sizeof(struct file)", "print &((struct file*)0)->f_op",
	"print sizeof(struct cred)", "print &((struct cred*)0)->uid",
}

// session runs gdb without a file on the guest once, for all rows. The result includes the messages
// of the stub and of gdb on connecting.
func (m *machine) session(ctx context.Context) ([]session.Step, *session.Result, error) {
	if m.gdb != nil {
		said := m.stub
		return m.gdb, &said, nil
	}
	ctx, cancel := context.WithTimeout(ctx, maxSession)
	defer cancel()
	stub, address, err := m.physgdb.Serve(ctx, m.guest.Source(), "--symbols", "ram")
	if err != nil {
		return nil, nil, err
	}
	commands := slices.Concat([]string{"target remote " + address, "set print frame-arguments none", "bt", allStacks, ptypeTask},
		typeQuestions)
	m.gdb, err = session.GDB(ctx, "", commands...)
	err = errors.Join(err, stub.Stop())
	m.stub.Stderr = stub.Stderr()
	said := m.stub
	return m.gdb, &said, err
}

func checkGDBBacktrace(ctx context.Context, m *machine) cell {
	steps, r, err := m.session(ctx)
	if err != nil {
		return cell{failed, err.Error()}
	}
	difference := verify.GDBCallTrace(&m.guest.Facts, session.Find(steps, "bt"))
	return judged(r, difference, fmt.Sprintf("%d frames", len(verify.CallTrace(&m.guest.Facts))))
}

func checkGDBStacks(ctx context.Context, m *machine) cell {
	steps, r, err := m.session(ctx)
	switch {
	case err != nil:
		return cell{failed, err.Error()}
	case len(m.traces) == 0:
		return judged(r, errors.New("bt all shows no stacks for comparison"), "")
	}
	return judged(r, verify.GDBStacks(m.traces, session.Find(steps, allStacks)), fmt.Sprintf("%d threads", len(m.traces)))
}

func checkGDBTypes(ctx context.Context, m *machine) cell {
	ctx, cancel := context.WithTimeout(ctx, maxSession)
	defer cancel()
	want, err := session.GDB(ctx, m.guest.Kernel.Vmlinux, typeQuestions...)
	if err != nil {
		return cell{failed, err.Error()}
	}
	got, r, err := m.session(ctx)
	if err != nil {
		return cell{failed, err.Error()}
	}
	var differences []error
	if text := session.Find(got, ptypeTask); !strings.Contains(text, "struct list_head tasks;") {
		differences = append(differences, fmt.Errorf("%s: %.200s", ptypeTask, text))
	}
	for _, question := range typeQuestions {
		w, g := session.Find(want, question), session.Find(got, question)
		switch {
		case session.Value(w) == "":
			return cell{failed, "gdb on the vmlinux: " + w}
		case withoutSymbol(session.Value(w)) != withoutSymbol(session.Value(g)):
			differences = append(differences, fmt.Errorf("%s: %s; by the vmlinux %s", question, g, session.Value(w)))
		}
	}
	return judged(r, errors.Join(differences...), fmt.Sprintf("%d values", len(typeQuestions)))
}

// withoutSymbol returns a value without the symbol that gdb appends to a pointer: an offset is no
// address, and whether a per-CPU symbol has the same number depends on the file.
func withoutSymbol(value string) string {
	value, _, _ = strings.Cut(value, " <")
	return value
}
