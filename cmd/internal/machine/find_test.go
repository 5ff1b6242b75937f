package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"physgdb/bridge"
	"physgdb/symbols/linux"
	"physgdb/test/memimage"
)

// trampolineAt is where the rig's kernel leaves a trampoline when it is told to.
const trampolineAt = 0x9c000

// leaveTrampoline puts a trampoline into the rig's RAM.
func (r *rig) leaveTrampoline(t *testing.T) {
	t.Helper()
	r.AddTrampoline(trampolineAt)
	must(t, r.Kernel.WriteFile(r.path("ram")))
}

// search finds the kernel of the rig where nobody tells a CR3, and returns what was logged.
func (r *rig) search(t *testing.T, o Options) (*Machine, string) {
	t.Helper()
	var log bytes.Buffer
	o.Source, o.Log = r.path("ram"), hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn})
	m, err := Attach(ctx, &o)
	must(t, err)
	t.Cleanup(func() { m.Close() })
	if m.Kernel.Text != r.Text() || m.Kernel.TextPhys != r.TextPhys {
		t.Errorf("found a kernel at %#x, phys %#x", m.Kernel.Text, uint64(m.Kernel.TextPhys))
	}
	return m, log.String()
}

func TestNobodyTellsWhereTheKernelIs(t *testing.T) {
	r := newRig(t, 5)
	r.leaveTrampoline(t)
	m, log := r.search(t, Options{})
	if m.Kernel.FoundBy != linux.ByTrampoline || m.Space != m.Kernel.Space || log != "" {
		t.Errorf("found by %s; log %q", m.Kernel.FoundBy, log)
	}
	if n := m.foundIn.Reads; n == 0 || n > 200 {
		t.Errorf("it took %d reads", n)
	}
}

func TestVMCoreInfoIsTold(t *testing.T) {
	r := newRig(t, 4)
	at := r.AddVMCoreInfo()
	must(t, r.Kernel.WriteFile(r.path("ram")))
	m, _ := r.search(t, Options{VMCoreInfo: hex(uint64(at))})
	if m.Kernel.FoundBy != linux.ByVMCoreInfo {
		t.Errorf("by the user: found by %s", m.Kernel.FoundBy)
	}
	stale := strings.Replace(died, `"cr3":"CR3"`, fmt.Sprintf(`"cr3":"0x5000","vmcoreinfo":"%#x"`, uint64(at)), 1)
	m, log := r.search(t, Options{Notify: r.notices(t, greeted, stale)})
	if m.Kernel.FoundBy != linux.ByVMCoreInfo || m.Notice == nil || m.Hellos["clock"] == nil || log != "" {
		t.Errorf("by the notice: found by %s, notice %v; log %q", m.Kernel.FoundBy, m.Notice, log)
	}
}

// TestNoticeOfAnotherBoot has a notice whose CR3 maps nothing: the kernel is found without it, and its registers are
// not shown.
func TestNoticeOfAnotherBoot(t *testing.T) {
	r := newRig(t, 4)
	r.leaveTrampoline(t)
	stale := strings.Replace(died, "CR3", "0x5000", 1)
	m, log := r.search(t, Options{Notify: r.notices(t, greeted, stale)})
	if m.Kernel.FoundBy != linux.ByTrampoline || m.Notice != nil || m.Hellos != nil {
		t.Errorf("found by %s; notice %v, hellos %v", m.Kernel.FoundBy, m.Notice, m.Hellos)
	}
	if !strings.Contains(log, "the notice is not of this machine, or not of this boot") {
		t.Errorf("log %q", log)
	}
	// The place of a note that the user knows does not make the notice right.
	at := r.AddVMCoreInfo()
	must(t, r.Kernel.WriteFile(r.path("ram")))
	m, log = r.search(t, Options{Notify: r.notices(t, stale), VMCoreInfo: hex(uint64(at))})
	if m.Kernel.FoundBy != linux.ByVMCoreInfo || m.Notice != nil || log == "" {
		t.Errorf("found by %s; notice %v; log %q", m.Kernel.FoundBy, m.Notice, log)
	}
}

func TestAToldVMCoreInfoThatLeadsNowhereIsDoubted(t *testing.T) {
	r := newRig(t, 4)
	r.leaveTrampoline(t)
	m, log := r.search(t, Options{VMCoreInfo: "0x5000"})
	if m.Kernel.FoundBy != linux.ByTrampoline || !strings.Contains(log, "what --vmcoreinfo says leads to no kernel") ||
		!strings.Contains(log, "0x5000") {
		t.Errorf("found by %s; log %q", m.Kernel.FoundBy, log)
	}
}

func TestAToldCR3IsTakenAtItsWord(t *testing.T) {
	r := newRig(t, 4)
	r.leaveTrampoline(t)
	_, err := Attach(ctx, &Options{Source: r.path("ram"), CR3: "0x5000"})
	wantError(t, err, "CR3 0x5000 maps no kernel")
	wantError(t, err, "without --cr3 physgdb looks for the kernel by itself")
}

func TestAdviceWhereNothingIsFound(t *testing.T) {
	r := newRig(t, 4)
	_, err := Attach(ctx, &Options{Source: r.path("ram")})
	wantError(t, err, "no kernel was found: ")
	wantError(t, err, "; try --vmlinux FILE; or --cr3 HEX")
	if strings.Contains(err.Error(), "--ram") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v: a RAM map is asked for, but a file is RAM; or it is not one line", err)
	}
	must(t, r.WriteVmlinux(r.path("other"), "\xde\xad"))
	r.leaveTrampoline(t)
	_, err = Attach(ctx, &Options{Source: r.path("ram"), Vmlinux: r.path("other")})
	wantError(t, err, "build-id is dead, memory has cafebabe")
	if strings.Contains(err.Error(), "try") || !errors.Is(err, linux.ErrOtherKernel) {
		t.Errorf("%v: nothing helps against a wrong vmlinux but the right one", err)
	}
}

// listed is where the rig's kernel says that RAM is.
func listed(image uint64) []memimage.Resource {
	return []memimage.Resource{
		{Start: 0x1000, Last: 0x9fbff, Name: "System RAM"},
		{Start: image, Last: 0x16fffff, Name: "System RAM"},
		{Start: 0x1700000, Last: 0x17fffff, Name: "Reserved"},
	}
}

func TestTheKernelTellsWhereRAMIs(t *testing.T) {
	for _, tc := range []struct {
		name    string
		image   uint64 // where RAM above 1 MiB begins by the kernel's list
		ram     string // the user's map
		want    string
		from    string
		refused bridge.PhysAddr
		warning bool
	}{
		{"of a file", 0x100000, "", "0x1000-0x9fbff, 0x100000-0x16fffff", "by the kernel's own list", 0x1700000, false},
		{"within the user's map", 0x100000, "8000-16dffff\n", "0x8000-0x9fbff, 0x100000-0x16dffff",
			"by the kernel's own list, within that of --ram", 0x16e0000, false},
		{"but not that it is elsewhere itself", 0x1200000, "", "0x0-0x17fffff", "all of the source", 0x1800000, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, 4)
			r.AddResources(listed(tc.image)...)
			r.leaveTrampoline(t)
			must(t, r.WriteTypedVmlinux(r.path("vmlinux")))
			o := Options{Vmlinux: r.path("vmlinux")}
			if tc.ram != "" {
				o.RAM = r.path("iomem")
				must(t, os.WriteFile(o.RAM, []byte(tc.ram), 0o644))
			}
			m, log := r.search(t, o)
			if got := m.Memory.Info().RAM.String(); got != tc.want || m.Memory.ramFrom != tc.from {
				t.Errorf("RAM %s, %s; want %s, %s", got, m.Memory.ramFrom, tc.want, tc.from)
			}
			if warned := strings.Contains(log, "list of RAM is not believed"); warned != tc.warning {
				t.Errorf("log %q", log)
			}
			if _, ok := m.Memory.View(tc.refused, 1); ok {
				t.Error("what is not RAM is shown")
			}
			_, err := bridge.Read(ctx, m.Memory, tc.refused, make([]byte, 1), true)
			if !errors.Is(err, bridge.ErrNotRAM) {
				t.Errorf("read what is not RAM: %v", err)
			}
		})
	}
}

func TestProgressIsForTerminals(t *testing.T) {
	path := t.TempDir() + "/err"
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	var b bytes.Buffer
	for _, p := range []*progress{newProgress(&b, "x"), newProgress(f, "x"), newProgress(nil, "x")} {
		p.next = p.next.Add(-2 * progressAfter)
		p.show(1, 2)
		p.end()
	}
	if written, _ := os.ReadFile(path); b.Len() > 0 || len(written) > 0 {
		t.Errorf("%q, %q", b.String(), written)
	}
}

func TestProgressIsShownNowAndThen(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(nil, "looking")
	p.w = &b
	p.show(1<<20, 1<<30) // too early
	p.end()
	if b.Len() > 0 {
		t.Errorf("%q after no time", b.String())
	}
	p.next = p.next.Add(-2 * progressAfter)
	p.show(2<<20, 1<<30)
	p.show(3<<20, 1<<30) // too soon after that
	p.end()
	if want := "\r\x1b[Kphysgdb: looking: 2 MiB of 1 GiB\r\x1b[K"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
