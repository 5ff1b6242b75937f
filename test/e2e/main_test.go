// Package e2e runs real debuggers on real dead kernels, through the physgdb command, and compares
// what they show with what the machine reported while it was running, and with QEMU.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"physgdb/symbols"
	"physgdb/symbols/elffile"
	"physgdb/test/guest"
	"physgdb/test/session"
)

// hosts are the machines that most tests run on: two kernels, 4 and 5 levels of paging, with and
// without KPTI.
var hosts = []*host{
	{name: "6.1-4level-kpti", config: guest.Config{Release: "6.1", PTI: true}},
	{name: "6.1-5level", config: guest.Config{Release: "6.1", LA57: true}},
	{name: "6.12-4level", config: guest.Config{Release: "6.12"}},
	{name: "6.12-5level-kpti", config: guest.Config{Release: "6.12", LA57: true, PTI: true}},
}

// host is a dead machine, made at first use and kept for all tests.
type host struct {
	name   string
	config guest.Config

	once    sync.Once
	err     error
	guest   *guest.Guest
	vmlinux *symbols.Table
	notices string // file
	dir     string
}

// physgdb is the command under test.
var physgdb session.Physgdb

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "physgdb-e2e-")
	if err == nil {
		defer os.RemoveAll(dir)
		physgdb, err = session.Build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, h := range slices.Concat(hosts, deaths, []*host{crowd, manyModules, wildCall}) {
		h.dir = filepath.Join(dir, h.name)
		defer h.close()
	}
	defer preparing.Wait()
	return m.Run()
}

func (h *host) close() {
	if h.guest != nil {
		h.guest.Close()
	}
}

// on runs a test on every machine.
func on(t *testing.T, test func(t *testing.T, h *host)) {
	t.Helper()
	each(t, hosts, test)
}

// onTwo runs a test on two machines with different kernels and levels of paging.
func onTwo(t *testing.T, test func(t *testing.T, h *host)) {
	t.Helper()
	each(t, []*host{hosts[0], hosts[3]}, test)
}

// each runs a test on some machines. While it tests one, the next one is booted.
func each(t *testing.T, some []*host, test func(t *testing.T, h *host)) {
	t.Helper()
	for i, h := range some {
		t.Run(h.name, func(t *testing.T) {
			h.ready(t)
			if i+1 < len(some) {
				some[i+1].prepare()
			}
			test(t, h)
		})
	}
}

// preparing are the machines that are made in the background.
var preparing sync.WaitGroup

// prepare boots the machine in the background if all tests are run; with -run it may not be needed.
func (h *host) prepare() {
	if flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.bench").Value.String() == "" {
		preparing.Go(h.makeOnce)
	}
}

// ready makes the machine if it does not exist yet.
func (h *host) ready(t testing.TB) *host {
	t.Helper()
	h.makeOnce()
	if h.err != nil {
		t.Fatal(h.err)
	}
	return h
}

func (h *host) makeOnce() { h.once.Do(func() { h.err = h.make() }) }

func (h *host) make() error {
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		return err
	}
	h.config.Dir = h.dir
	g, err := guest.Boot(context.Background(), h.config)
	if err != nil {
		return err
	}
	h.guest = g
	if h.vmlinux, err = elffile.ReadTable(g.Kernel.Vmlinux); err != nil {
		return err
	}
	var lines []string
	for _, event := range []string{"hello", "panic"} {
		for _, n := range g.Notices(event) {
			lines = append(lines, strings.TrimSpace(string(n)))
		}
	}
	h.notices = filepath.Join(h.dir, "notices.jsonl")
	return os.WriteFile(h.notices, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

// slide returns the slide according to the guest.
func (h *host) slide(t testing.TB) uint64 {
	t.Helper()
	text, ok := h.vmlinux.Lookup("_text")
	runtime, known := h.guest.Facts.Kallsyms["_text"]
	if !ok || !known {
		t.Fatal("no _text")
	}
	return runtime - text.Addr
}

// limited returns a context for one command of a test.
func limited(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), d, fmt.Errorf("it took longer than %v", d))
	t.Cleanup(cancel)
	return ctx
}

// run runs physgdb and checks that it succeeds.
func run(t testing.TB, args ...string) *session.Result {
	t.Helper()
	r, err := physgdb.Run(limited(t, time.Minute), args...)
	if err != nil || r.Status != 0 {
		t.Fatalf("physgdb %q: status %d, %v\n%s", args, r.Status, err, r.Stderr)
	}
	return r
}

// serve starts a stub and returns its address.
func serve(t testing.TB, args ...string) string {
	t.Helper()
	s, address, err := physgdb.Serve(limited(t, time.Minute), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("the stub failed: %v\n%s", err, s.Stderr())
		}
	})
	return address
}

// gdb runs gdb, with a file or "", on a stub.
func gdb(t testing.TB, file, address string, commands ...string) []session.Step {
	t.Helper()
	steps, err := session.GDB(limited(t, 3*time.Minute), file, append([]string{"target remote " + address}, commands...)...)
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

// adapter starts the software adapter over a machine's RAM at an address of its own, and returns
// the URL for clients.
func adapter(t testing.TB, h *host, args ...string) string {
	t.Helper()
	server, client := session.Link()
	s, err := physgdb.Start(limited(t, time.Minute), "adapter at", append([]string{
		"adapter", h.guest.Source(), "--listen", server.String()}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("the adapter failed: %v\n%s", err, s.Stderr())
		}
	})
	return fmt.Sprintf("nettlp://%v?local=%v&requester=01:00", server, client)
}
