package clients

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"physgdb/test/guest"
	"physgdb/test/session"
)

// clients are the columns.
var clients = []client{gdbCLI{}, gdbMI{}, cdtAdapter{}, lldbCLI{}, lldbAdapter{}}

// maxAction bounds one action. gdb needs about ten seconds of CPU time for the types of a vmlinux.
const maxAction = 3 * time.Minute

// maxShown bounds how much of a packet a transcript shows, in bytes.
const maxShown = 200

var (
	release     = flag.String("release", "6.12", "kernel `series` of the machines: 6.1 or 6.12")
	tableFile   = flag.String("table", "", "write the table to a `FILE`, or add it to that")
	transcripts = flag.String("transcripts", "", "write what was typed, answered and sent to files in a `DIR`")
)

// rig has the machines and the binary that the tests share. It is made once.
type rig struct {
	once        sync.Once
	err         error
	dir         string
	physgdb     session.Physgdb
	dead, crowd *guest.Guest
	truth       *witness // of the dead one
}

// shared is the rig of all tests.
var shared rig

func TestMain(m *testing.M) {
	flag.Parse()
	status := m.Run()
	shared.close()
	os.Exit(status)
}

// ready makes the rig if there is none yet.
func ready(t testing.TB) *rig {
	t.Helper()
	shared.once.Do(func() { shared.err = shared.make() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return &shared
}

// make boots and panics two machines at the same time: one in a module, one with two thousand
// tasks.
func (r *rig) make() error {
	ctx := context.Background()
	var err error
	if r.dir, err = os.MkdirTemp("", "physgdb-clients-"); err != nil {
		return err
	}
	if r.physgdb, err = session.Build(ctx, r.dir); err != nil {
		return err
	}
	var both sync.WaitGroup
	var deadErr, crowdErr error
	both.Go(func() { r.dead, deadErr = guest.Boot(ctx, guest.Config{Release: *release, Panic: "oops", PTI: true}) })
	both.Go(func() { r.crowd, crowdErr = guest.Boot(ctx, guest.Config{Release: *release, Threads: 2000}) })
	both.Wait()
	if deadErr != nil {
		return deadErr
	}
	if crowdErr != nil {
		return crowdErr
	}
	r.truth, err = observe(ctx, r.dead)
	return err
}

func (r *rig) close() {
	for _, g := range []*guest.Guest{r.dead, r.crowd} {
		if g != nil {
			g.Close()
		}
	}
	os.RemoveAll(r.dir)
}

// serve starts the adapter and the stub of a machine, with only the options of a kit, and returns
// the stub's address.
func (r *rig) serve(t testing.TB, g *guest.Guest, k kit) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, local := session.Link()
	adapter, err := r.physgdb.Start(ctx, "adapter at", "adapter", g.Source(), "--listen", server.String(), "--delay", delay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopped(t, "adapter", adapter) }) // it prints what it did when it ends
	source := fmt.Sprintf("nettlp://%v?local=%v&requester=01:00", server, local)
	stub, address, err := r.physgdb.Serve(ctx, append([]string{source}, k.options(g)...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stopped(t, "stub", stub)
		if said := stub.Stderr(); said != "" {
			t.Errorf("the stub logged:\n%s", said)
		}
	})
	return address
}

// delay is the latency of the software adapter.
const delay = "15us"

// stopped ends a service and checks its exit status.
func stopped(t testing.TB, what string, s *session.Service) {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Errorf("the %s failed: %v\n%s", what, err, s.Stderr())
	}
}

// TestClients executes every action with every client, one after the other, with the files of each
// kit.
func TestClients(t *testing.T) {
	r := ready(t)
	tables := r.about()
	for _, k := range kits {
		t.Run(k.name, func(t *testing.T) { tables += "\n" + tableOf(t, r, k) })
	}
	t.Logf("\n%s", tables)
	if *tableFile != "" && !t.Failed() {
		if err := addTo(*tableFile, tables); err != nil {
			t.Error(err)
		}
	}
}

// tableOf returns the table of a kit.
func tableOf(t *testing.T, r *rig, k kit) string {
	dead, crowd := r.machine(t, r.dead, r.truth, k), r.machine(t, r.crowd, &witness{guest: r.crowd}, k)
	var columns []column
	for _, c := range clients {
		if !k.suits(c, *release) {
			continue
		}
		t.Run(c.name(), func(t *testing.T) {
			dead, crowd := dead.tapped(t), crowd.tapped(t)
			cells := doAll(t, c, dead, rows, transcript(k, c))
			maps.Copy(cells, doAll(t, c, crowd, []action{crowdRow}, transcript(k, c)+".crowd"))
			col := column{k, c, cells}
			columns = append(columns, col)
			for _, row := range slices.Concat(rows, []action{crowdRow}) {
				judge(t, col, row.name)
			}
			keep(t, transcript(k, c)+".packets", dead.tap.Transcript(maxShown))
			keep(t, transcript(k, c)+".crowd.packets", crowd.tap.Transcript(maxShown))
		})
	}
	return markdown(k.about, columns)
}

// machine starts a stub for a guest of the rig and returns both as a machine.
func (r *rig) machine(t *testing.T, g *guest.Guest, w *witness, k kit) *machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stub := r.serve(t, g, k)
	f, err := k.files(ctx, r, g)
	if err != nil {
		t.Fatal(err)
	}
	return &machine{witness: w, files: f, stub: stub}
}

// transcript returns the prefix of the names of a client's transcripts.
func transcript(k kit, c client) string { return c.name() + "." + k.name }

// addTo appends a table to a file, which begins with the preface.
func addTo(file, table string) error {
	all, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		all, err = []byte(preface), nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(all, "\n"+table...), 0o644)
}

// doAll executes actions in one run of a client.
func doAll(t *testing.T, c client, m *machine, actions []action, file string) map[string]cell {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Minute, fmt.Errorf("%s hangs", c.name()))
	defer cancel()
	d, err := c.start(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	cells := map[string]cell{}
	for _, a := range actions {
		cells[a.name] = doOne(ctx, d, m, a)
	}
	transcript, err := d.stop(ctx)
	if err != nil {
		t.Errorf("the client's end: %v", err)
	}
	keep(t, file+".txt", transcript)
	return cells
}

// doOne executes an action and checks its output.
func doOne(ctx context.Context, d driver, m *machine, a action) cell {
	ctx, cancel := context.WithTimeoutCause(ctx, maxAction, fmt.Errorf("no result after %v", maxAction))
	defer cancel()
	o, err := d.do(ctx, a.name)
	if err == nil {
		if err = a.check(m.witness, o); err != nil {
			err = fmt.Errorf("%w in\n%.3000s", err, o.text)
		}
	}
	return cell{err: err, took: o.took}
}

// judge fails the test unless a cell passes or has a reason not to.
func judge(t *testing.T, c column, action string) {
	t.Helper()
	done, reason := c.cells[action], c.reason(action)
	t.Logf("%-20s %7.3f s", action, done.took.Seconds())
	switch {
	case reason != "" && done.err == nil:
		t.Errorf("%s passes, but is expected to fail: %s", action, reason)
	case reason == "" && done.err != nil:
		t.Errorf("%s: %v", action, done.err)
	}
}

// keep writes a transcript, if -transcripts is given.
func keep(t *testing.T, name, content string) {
	t.Helper()
	if *transcripts == "" {
		return
	}
	err := os.MkdirAll(*transcripts, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(*transcripts, strings.ReplaceAll(name, " ", "-")), []byte(content), 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}

// about returns the heading of a table: the kernel and the machines.
func (r *rig) about() string {
	return fmt.Sprintf(`## Linux %s

The slide is %#x. "2000 threads" is another machine: connect, and list %d tasks.
`, r.dead.Kernel.Release, r.dead.Facts.Slide, len(r.crowd.Facts.Threads))
}
