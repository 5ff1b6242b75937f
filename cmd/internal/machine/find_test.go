package machine

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
	"physgdb/test/rig"
)

// trampolineAt is where the rig's kernel leaves a trampoline for leaveTrampoline.
const trampolineAt = 0x9c000

// leaveTrampoline puts a trampoline into the rig's RAM.
func leaveTrampoline(t *testing.T, r *rig.Rig) {
	t.Helper()
	r.AddTrampoline(trampolineAt)
	rig.Must(t, r.Kernel.WriteFile(r.Path("ram")))
}

// search finds the kernel of the rig without a CR3, and returns what was logged.
func search(t *testing.T, r *rig.Rig, o Options) (*Machine, string) {
	t.Helper()
	var log bytes.Buffer
	o.Source, o.Log = r.Path("ram"), hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn})
	m, err := Attach(ctx, &o)
	rig.Must(t, err)
	t.Cleanup(func() { m.Close() })
	if m.Kernel.Text != r.Text() || m.Kernel.TextPhys != r.TextPhys {
		t.Errorf("found a kernel at %#x, phys %#x", m.Kernel.Text, uint64(m.Kernel.TextPhys))
	}
	return m, log.String()
}

func TestKernelIsFoundWithoutHints(t *testing.T) {
	r := rig.New(t, 5)
	leaveTrampoline(t, r)
	m, log := search(t, r, Options{})
	if m.Kernel.FoundBy != linux.ByTrampoline || m.Space != m.Kernel.Space || log != "" {
		t.Errorf("found by %s; log %q", m.Kernel.FoundBy, log)
	}
	if n := m.FoundIn.Reads; n == 0 || n > 200 {
		t.Errorf("it took %d reads", n)
	}
}

func TestVMCoreInfoOfUser(t *testing.T) {
	r := rig.New(t, 4)
	at := r.AddVMCoreInfo()
	rig.Must(t, r.Kernel.WriteFile(r.Path("ram")))
	m, _ := search(t, r, Options{VMCoreInfo: rig.Hex(uint64(at))})
	if m.Kernel.FoundBy != linux.ByVMCoreInfo {
		t.Errorf("by the user: found by %s", m.Kernel.FoundBy)
	}
	stale := strings.Replace(rig.Panicked, `"cr3":"CR3"`, fmt.Sprintf(`"cr3":"0x5000","vmcoreinfo":"%#x"`, uint64(at)), 1)
	m, log := search(t, r, Options{Notify: r.Notices(t, rig.Hello, stale)})
	if m.Kernel.FoundBy != linux.ByVMCoreInfo || m.Notice == nil || m.Hellos["clock"] == nil || log != "" {
		t.Errorf("by the notice: found by %s, notice %v; log %q", m.Kernel.FoundBy, m.Notice, log)
	}
}

// TestNoticeOfAnotherBoot has a notice whose CR3 maps nothing: the kernel is found without it, and
// its registers are not shown.
func TestNoticeOfAnotherBoot(t *testing.T) {
	r := rig.New(t, 4)
	leaveTrampoline(t, r)
	stale := strings.Replace(rig.Panicked, "CR3", "0x5000", 1)
	m, log := search(t, r, Options{Notify: r.Notices(t, rig.Hello, stale)})
	if m.Kernel.FoundBy != linux.ByTrampoline || m.Notice != nil || m.Hellos != nil {
		t.Errorf("found by %s; notice %v, hellos %v", m.Kernel.FoundBy, m.Notice, m.Hellos)
	}
	if !strings.Contains(log, "the notice is not from this machine or this boot") {
		t.Errorf("log %q", log)
	}
	// The place of a note that the user knows does not make the notice right.
	at := r.AddVMCoreInfo()
	rig.Must(t, r.Kernel.WriteFile(r.Path("ram")))
	m, log = search(t, r, Options{Notify: r.Notices(t, stale), VMCoreInfo: rig.Hex(uint64(at))})
	if m.Kernel.FoundBy != linux.ByVMCoreInfo || m.Notice != nil || log == "" {
		t.Errorf("found by %s; notice %v; log %q", m.Kernel.FoundBy, m.Notice, log)
	}
}

func TestWrongVMCoreInfoIsIgnored(t *testing.T) {
	r := rig.New(t, 4)
	leaveTrampoline(t, r)
	m, log := search(t, r, Options{VMCoreInfo: "0x5000"})
	if m.Kernel.FoundBy != linux.ByTrampoline || !strings.Contains(log, "no kernel found at the address of --vmcoreinfo") ||
		!strings.Contains(log, "0x5000") {
		t.Errorf("found by %s; log %q", m.Kernel.FoundBy, log)
	}
}

func TestCR3OfUserIsNotReplaced(t *testing.T) {
	r := rig.New(t, 4)
	leaveTrampoline(t, r)
	_, err := Attach(ctx, &Options{Source: r.Path("ram"), CR3: "0x5000"})
	rig.WantError(t, err, "CR3 0x5000 maps no kernel")
	rig.WantError(t, err, "without --cr3 physgdb looks for the kernel by itself")
}

func TestAdviceWhereNothingIsFound(t *testing.T) {
	r := rig.New(t, 4)
	_, err := Attach(ctx, &Options{Source: r.Path("ram")})
	rig.WantError(t, err, "no kernel was found: ")
	rig.WantError(t, err, "; try --vmlinux FILE; or --cr3 HEX")
	if strings.Contains(err.Error(), "--ram") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v: a RAM map is asked for, but a file is RAM; or it is not one line", err)
	}
	rig.Must(t, r.WriteVmlinux(r.Path("other"), "\xde\xad"))
	leaveTrampoline(t, r)
	_, err = Attach(ctx, &Options{Source: r.Path("ram"), Vmlinux: r.Path("other")})
	rig.WantError(t, err, "build-id is dead, memory has cafebabe")
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

func TestRAMMapOfKernel(t *testing.T) {
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
			r := rig.New(t, 4)
			r.AddResources(listed(tc.image)...)
			leaveTrampoline(t, r)
			rig.Must(t, r.WriteTypedVmlinux(r.Path("vmlinux")))
			o := Options{Vmlinux: r.Path("vmlinux")}
			if tc.ram != "" {
				o.RAM = r.Path("iomem")
				rig.Must(t, os.WriteFile(o.RAM, []byte(tc.ram), 0o644))
			}
			m, log := search(t, r, o)
			if got := m.Memory.Info().RAM.String(); got != tc.want || m.Memory.RAMFrom != tc.from {
				t.Errorf("RAM %s, %s; want %s, %s", got, m.Memory.RAMFrom, tc.want, tc.from)
			}
			if warned := strings.Contains(log, "list of RAM is wrong"); warned != tc.warning {
				t.Errorf("log %q", log)
			}
			if _, ok := bridge.View(m.Memory, tc.refused, 1); ok {
				t.Error("what is not RAM is shown")
			}
			_, err := bridge.Read(ctx, m.Memory, tc.refused, make([]byte, 1), true)
			if !errors.Is(err, bridge.ErrNotRAM) {
				t.Errorf("read what is not RAM: %v", err)
			}
		})
	}
}
