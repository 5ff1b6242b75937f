package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"physgdb/bridge/notify"
	"physgdb/internal/plain"
	"physgdb/internal/regular"
)

// ListenNotices opens the address of a URL such as udp://127.0.0.1:6666.
func ListenNotices(address string, log hclog.Logger) (*notify.Listener, error) {
	l, err := notify.Listen(address, log)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w; another physgdb may be listening there, whose output --notify can read from a file", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%w; want an address of this machine, or 0.0.0.0 for all of them", err)
	}
	return l, err
}

// waitForNotice reads the notices of the machine up to that of its panic: from the network, or from
// a file that `physgdb notify` has written.
func (m *Machine) waitForNotice(ctx context.Context, o *Options) error {
	if !strings.Contains(o.Notify, "://") {
		return m.readNotices(ctx, o)
	}
	notes := o.Notes
	if notes == nil {
		notes = io.Discard
	}
	l, err := ListenNotices(o.Notify, o.Log)
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Fprintf(notes, "physgdb: waiting for the target's notice of its panic on udp://%v\n", l.Addr())
	var seen history
	for m.Notice == nil {
		n, _, err := l.Next(ctx)
		if err != nil {
			return fmt.Errorf("wait for the target's notice: %w", err)
		}
		fmt.Fprintf(notes, "physgdb: %s\n", n.Text())
		m.Notice, m.Hellos = seen.take(n)
	}
	return nil
}

// maxBadLines is how many lines of a file of notices have a warning of their own.
const maxBadLines = 3

// readNotices reads notices from a file: one JSON object a line. Of several panics the last counts.
// Lines that hold no notice are skipped with a warning: every sender that reaches the port may have
// written them.
func (m *Machine) readNotices(ctx context.Context, o *Options) error {
	path := o.Notify
	f, err := regular.Open(path)
	if err != nil {
		return fmt.Errorf("--notify %s: %w (to wait for a notice, give --notify udp://ADDRESS:PORT)", path, reason(err))
	}
	defer f.Close()
	var seen history
	bad := 0
	err = notify.ReadLines(ctx, f, func(n *notify.Notice) {
		if notice, hellos := seen.take(n); notice != nil {
			m.Notice, m.Hellos = notice, hellos
		}
	}, func(line int, err error) {
		if bad++; bad <= maxBadLines {
			o.logger().Warn("a line of the notices is skipped", "path", path, "line", line, "error", err)
		}
	})
	if bad > maxBadLines {
		o.logger().Warn("more lines of the notices are skipped", "path", path, "lines", bad-maxBadLines)
	}
	if err != nil {
		return fmt.Errorf("--notify %s: %w", path, reason(err))
	}
	if m.Notice == nil {
		return fmt.Errorf("--notify %s: has no notice of a panic; give --cr3 HEX without --notify to start from another CR3",
			path)
	}
	return nil
}

// history is the notices of each host, by its name. Those of programs that do not know the name of
// their host are under "": they count for the next host that panics.
type history map[string]*boot

// maxHistory bounds a history, in hosts and hellos: every sender that reaches the port can send any
// number of them. At the limit the earlier ones are dropped.
const maxHistory = 4096

func (h history) size() int {
	n := len(h)
	for _, b := range h {
		n += len(b.hellos)
	}
	return n
}

// boot is the notices of programs between the start of a host and its panic, by the name of the
// task, or by its pid if the notice has no name.
type boot struct {
	hellos map[string]*notify.Notice
	over   bool
}

// take adds a notice. If it is of a panic, it is returned with the hellos of the same boot: a root
// of another boot may well be a root in this one, too, but of another program.
func (h *history) take(n *notify.Notice) (panicked *notify.Notice, hellos map[string]*notify.Notice) {
	b := h.boot(n)
	switch name := taskName(n); {
	case n.Event == notify.EventPanic:
		if hostless := (*h)[""]; hostless != nil && hostless != b {
			maps.Copy(b.hellos, hostless.hellos)
			delete(*h, "")
		}
		b.over = true
		return n, b.hellos
	case n.Event == notify.EventHello && name != "":
		b.hellos[name] = n
	}
	return nil, nil
}

// boot returns the history of the boot that a notice belongs to: a hello after a panic begins a new
// boot.
func (h *history) boot(n *notify.Notice) *boot {
	if *h == nil || n.Event != notify.EventPanic && h.size() >= maxHistory {
		*h = history{}
	}
	const nameless = "(none)" // what Linux calls a host that has not been given a name yet
	host := n.Host
	if host == nameless {
		host = ""
	}
	b := (*h)[host]
	if b == nil || b.over && n.Event == notify.EventHello {
		b = &boot{hellos: map[string]*notify.Notice{}}
		(*h)[host] = b
	}
	return b
}

// taskName is the name of the sender of a notice, as users write it after hello:, or "" if the
// notice has neither name nor pid.
func taskName(n *notify.Notice) string {
	switch {
	case n.Comm != "":
		return plain.Name(n.Comm)
	case n.PID != nil:
		return strconv.Itoa(*n.PID)
	}
	return ""
}

// Hello returns the notice of the program of that name.
func (m *Machine) Hello(name string) (*notify.Notice, error) {
	for _, known := range []string{name, plain.Name(name)} {
		if n, ok := m.Hellos[known]; ok {
			return n, nil
		}
	}
	known := "none has; give --cr3 HEX"
	if len(m.Hellos) > 0 {
		known = "known are " + strings.Join(slices.Sorted(maps.Keys(m.Hellos)), ", ")
	}
	return nil, fmt.Errorf("no program named %q has sent its CR3; %s", name, known)
}
