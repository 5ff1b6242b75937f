package host

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"physgdb/bridge/notify"
)

// hear takes in the host's notices until that of its panic has come: from the network, or from a file in which
// `physgdb notify` kept them.
func (m *Machine) hear(ctx context.Context, o *Options) error {
	if !strings.Contains(o.Notify, "://") {
		return m.recall(o.Notify)
	}
	notes := o.Notes
	if notes == nil {
		notes = io.Discard
	}
	l, err := notify.Listen(o.Notify, o.Log)
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Fprintf(notes, "physgdb: waiting for the host's notice of its panic on udp://%v\n", l.Addr())
	for m.Notice == nil {
		n, _, err := l.Next(ctx)
		if err != nil {
			return fmt.Errorf("wait for the host's notice: %w", err)
		}
		fmt.Fprintf(notes, "physgdb: %s\n", n.Text())
		m.take(n)
	}
	return nil
}

// recall reads notices from a file: one JSON object a line. Of several panics the last counts.
func (m *Machine) recall(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("notices: %w (to wait for one, give --notify udp://ADDRESS:PORT)", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for i := 1; lines.Scan(); i++ {
		n, err := notify.Parse(lines.Bytes())
		if err != nil {
			return fmt.Errorf("notices: %s, line %d: %w", path, i, err)
		}
		m.take(n)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("notices: %s: %w", path, err)
	}
	if m.Notice == nil {
		return fmt.Errorf("notices: %s has none of a panic", path)
	}
	return nil
}

func (m *Machine) take(n *notify.Notice) {
	if n.Event == notify.EventPanic {
		m.Notice = n
		return
	}
	name := n.Comm
	if name == "" && n.PID != nil {
		name = strconv.Itoa(*n.PID)
	}
	m.Hellos[name] = n
}

// hello returns what the program of that name told.
func (m *Machine) hello(name string) (*notify.Notice, error) {
	if n, ok := m.Hellos[name]; ok {
		return n, nil
	}
	known := "none has"
	if len(m.Hellos) > 0 {
		known = "known are " + strings.Join(slices.Sorted(maps.Keys(m.Hellos)), ", ")
	}
	return nil, fmt.Errorf("no program named %q told its CR3; %s", name, known)
}
