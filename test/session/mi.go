package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// MI is a gdb that is driven through its machine interface, as by VS Code's cppdbg (MIEngine) and
// other editors.
type MI struct {
	*process
	token int
}

// StartMI starts a gdb, which is killed when ctx ends.
func StartMI(ctx context.Context, args ...string) (*MI, error) {
	p, err := startProcess(ctx, "gdb", append([]string{"-nx", "-q", "--interpreter=mi3"}, args...)...)
	if err != nil {
		return nil, err
	}
	return &MI{process: p}, nil
}

// StartMIEngine starts a gdb with the first commands of MIEngine, which load the file to debug.
func StartMIEngine(ctx context.Context, file string, args ...string) (*MI, error) {
	m, err := StartMI(ctx, args...)
	if err != nil {
		return nil, err
	}
	for _, command := range []string{
		"-gdb-set mi-async on",
		`-interpreter-exec console "set pagination off"`,
		`-interpreter-exec console "set debuginfod enabled off"`,
		"-gdb-set auto-solib-add on",
		"-file-exec-and-symbols " + file,
		`-interpreter-exec console "show architecture"`,
	} {
		step, err := m.Do(ctx, command)
		if err == nil && !strings.Contains(step.Output, "^done") {
			err = fmt.Errorf("%s: gdb answers\n%s", command, step.Output)
		}
		if err != nil {
			return nil, errors.Join(err, m.Close(ctx))
		}
	}
	return m, nil
}

// Do sends a command with a token and returns the records up to its result, one a line.
func (m *MI) Do(ctx context.Context, command string) (Step, error) {
	m.token++
	result := fmt.Sprintf("%d^", m.token)
	step, err := m.Until(ctx, fmt.Sprint(m.token, command), func(record string) bool { return strings.HasPrefix(record, result) })
	step.Command = command
	return step, err
}

// Run sends a command that resumes the machine, without a token, and returns the records up to the
// stop or an error.
func (m *MI) Run(ctx context.Context, command string) (Step, error) {
	return m.Until(ctx, command, func(record string) bool {
		return strings.HasPrefix(record, "*stopped") || strings.HasPrefix(strings.TrimLeft(record, "0123456789"), "^error")
	})
}

// Until sends a command without a token and returns the records up to the one for which last is
// true.
func (m *MI) Until(ctx context.Context, command string, last func(record string) bool) (Step, error) {
	step, err := m.ask(ctx, last, command, nothing)
	step.Output = strings.TrimSpace(step.Output)
	return step, err
}

// Close ends gdb as editors do, with -gdb-exit, and waits for it.
func (m *MI) Close(ctx context.Context) error { return m.close(ctx, "-gdb-exit") }
