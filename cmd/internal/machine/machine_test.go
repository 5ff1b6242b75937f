package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"physgdb/bridge"
	"physgdb/gdbstub"
	"physgdb/test/memimage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

const slide = 0x1c000000

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func hex(v uint64) string { return fmt.Sprintf("%#x", v) }

// wantError checks that err says some text.
func wantError(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v; want %q in it", err, text)
	}
}

// rig is a dead kernel in files, with a second address space: that of the program clock.
type rig struct {
	*memimage.Kernel
	clock uint64 // CR3
	dir   string
}

func newRig(t *testing.T, levels int) *rig {
	t.Helper()
	r := &rig{Kernel: memimage.NewKernel(&memimage.KernelOptions{Levels: levels, Slide: slide}), dir: t.TempDir()}
	r.clock = r.AddProcess("tick")
	must(t, r.Kernel.WriteFile(r.path("ram")))
	must(t, r.WriteVmlinux(r.path("vmlinux"), memimage.BuildID))
	return r
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// notices writes notices to a file and returns its path. CR3 and CLOCK stand for the two roots.
func (r *rig) notices(t *testing.T, lines ...string) string {
	t.Helper()
	text := strings.Join(lines, "\n") + "\n"
	text = strings.NewReplacer("CR3", hex(r.CR3), "CLOCK", hex(r.clock)).Replace(text)
	must(t, os.WriteFile(r.path("notices"), []byte(text), 0o644))
	return r.path("notices")
}

// What the host may have said.
const (
	died = `{"physgdb":1,"event":"panic","host":"db7","cpu":2,"pid":1,"comm":"init","cr3":"CR3","cr4":"0xef0",` +
		`"rip":"0xffffffff9d001010","rsp":"0xffffc900001b3d28","r12":"0x12","gs_base":"0xffff88801f100000","message":"tests"}`
	greeted = `{"physgdb":1,"event":"hello","host":"db7","pid":143,"comm":"clock","cr3":"CLOCK"}`
)

// attach finds the kernel; what o does not say is that of the rig.
func (r *rig) attach(t *testing.T, o Options) *Machine {
	t.Helper()
	o.Source = r.path("ram")
	if o.CR3 == "" && o.Notify == "" {
		o.CR3 = hex(r.CR3)
	}
	m, err := Attach(ctx, &o)
	must(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

// connect opens the machine for one debugger.
func connect(t *testing.T, m *Machine) *session {
	t.Helper()
	target, err := m.NewSession(ctx)
	must(t, err)
	s := target.(*session)
	_, err = s.Threads(ctx)
	must(t, err)
	return s
}

// user reads what the user page begins with in the address space that s has selected.
func (s *session) user(t *testing.T) string {
	t.Helper()
	p := make([]byte, 4)
	_, err := s.ReadMemory(ctx, s.first, memimage.UserVA, p)
	must(t, err)
	return string(p)
}

func TestSessionHasEveryAbility(t *testing.T) {
	var s any = (*session)(nil)
	_, writes := s.(gdbstub.RegisterWriter)
	_, moves := s.(gdbstub.Relocator)
	_, borrows := s.(gdbstub.SymbolBorrower)
	_, answers := s.(gdbstub.Monitor)
	_, explains := s.(gdbstub.HaltExplainer)
	_, searches := s.(gdbstub.MemorySearcher)
	_, loads := s.(gdbstub.LoadReader)
	if !writes || !moves || !borrows || !answers || !explains || !searches || !loads {
		t.Error("an ability is lost: ", writes, moves, borrows, answers, explains, searches, loads)
	}
}

func TestMemoryStaysViewable(t *testing.T) {
	r := newRig(t, 4)
	mem, err := OpenMemory(ctx, &Options{Source: r.path("ram")})
	must(t, err)
	defer mem.Close()
	if p, ok := mem.View(r.TextPhys+8<<21, 5); !ok || string(p) != "Linux" {
		t.Errorf("view %q, %v: a file is no longer shown in place", p, ok)
	}
	if _, ok := mem.View(bridge.PhysAddr(len(r.RAM)), 1); ok {
		t.Error("what lies behind the file is shown")
	}
}

func TestAttachClosesItsMemoryWhenItFails(t *testing.T) {
	r := newRig(t, 4)
	before := openFiles(t)
	for range 3 {
		_, err := Attach(ctx, &Options{Source: r.path("ram"), CR3: "0x5000"})
		wantError(t, err, "maps no kernel")
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d mappings of the file are left", after-before)
	}
}

// openFiles counts how often this process has a file named ram mapped.
func openFiles(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	return strings.Count(string(maps), "/ram\n")
}

func TestUsageErrors(t *testing.T) {
	for name, o := range map[string]*Options{
		"a note at no number":     {Source: "ram", VMCoreInfo: "here"},
		"a note and a CR3":        {Source: "ram", VMCoreInfo: "0x1000", CR3: "0x1000"},
		"a hello without notices": {Source: "ram", CR3: "hello:clock"},
		"a hello of nobody":       {Source: "ram", CR3: "hello:", Notify: "notices"},
		"a CR3 that is no number": {Source: "ram", CR3: "clock"},
		"no source":               {CR3: "0x1000"},
	} {
		_, err := Attach(ctx, o)
		if usage := (*UsageError)(nil); !errors.As(err, &usage) {
			t.Errorf("%s: %v is not an error of usage", name, err)
		}
	}
}

func TestParseAddress(t *testing.T) {
	for _, tc := range []struct {
		text string
		want uint64
		err  string
	}{
		{"0x0", 0, ""}, {"0X1F", 31, ""}, {"0xffffffffffffffff", ^uint64(0), ""},
		{"1000", 0, "write 0x1000"}, {"0755", 0, "write 0x0755"}, {"cafe", 0, "write 0xcafe"},
		{"", 0, "not an address"}, {"0x", 0, "not an address"}, {"0x10000000000000000", 0, "not an address"},
		{"-1", 0, "not an address"}, {"panic", 0, "not an address such as"}, {"0x-1", 0, "not an address"},
	} {
		v, err := ParseAddress(tc.text)
		if v != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%q: %#x, %v; want %#x, %q", tc.text, v, err, tc.want, tc.err)
		}
	}
}

func TestAddresses(t *testing.T) {
	m := newRig(t, 4).attachWithVmlinux(t)
	const panicAt = memimage.LinkText + slide + 0x1000
	vas, err := m.Addresses([]string{"panic", "panic+16", "panic+0x10", "0x1000", "runqueues"})
	must(t, err)
	for i, want := range []uint64{panicAt, panicAt + 16, panicAt + 16, 0x1000, 0x35e80} {
		if vas[i] != want {
			t.Errorf("address %d is %#x, want %#x", i, vas[i], want)
		}
	}
	for text, want := range map[string]string{
		"panik": "nor a symbol", "$rsp": "see print/x $rsp", "panic+": "not an offset", "panic+x": "not an offset", "1000": "nor a symbol",
	} {
		_, err := m.Addresses([]string{"panic", text})
		wantError(t, err, want)
	}
}

func (r *rig) attachWithVmlinux(t *testing.T) *Machine {
	t.Helper()
	return r.attach(t, Options{Vmlinux: r.path("vmlinux")})
}

func TestSizeText(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 bytes", 1023: "1023 bytes", 4096: "4 KiB", 1536: "1.5 KiB", 2 << 20: "2 MiB", 1 << 30: "1 GiB",
		5 << 29: "2.5 GiB",
	} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
