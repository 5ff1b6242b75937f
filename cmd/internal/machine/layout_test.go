package machine

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"physgdb/bridge"
	"physgdb/bridge/dump"
	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/test/memimage"
	"physgdb/test/rig"
)

// splitRAM writes a sparse file with the RAM of a machine whose kernel lies above 4 GiB, of which
// the bytes from low on lie there. It returns the path.
func splitRAM(t *testing.T, k *memimage.Kernel, low, size int64) string {
	t.Helper()
	path := t.TempDir() + "/ram"
	f, err := os.Create(path)
	rig.Must(t, err)
	defer f.Close()
	rig.Must(t, f.Truncate(size))
	_, err = f.WriteAt(k.RAM[:k.TextPhys], 0)
	rig.Must(t, err)
	_, err = f.WriteAt(k.RAM[k.TextPhys:], low+int64(k.High+k.TextPhys)-fourGiB)
	rig.Must(t, err)
	return path
}

// TestSplitRAMWithoutAMap has a kernel above 4 GiB and no list of RAM: its page tables decide.
func TestSplitRAMWithoutAMap(t *testing.T) {
	for _, tc := range []struct {
		low, size int64
		layout    string
	}{
		{2 << 30, 4 << 30, "0:0x80000000:0,0x100000000:0x80000000:0x80000000"},
		{3 << 30, 5 << 30, "0:0xc0000000:0,0x100000000:0x80000000:0xc0000000"},
		{2 << 30, 72 << 30, "0:0x80000000:0,0x100000000:0x1180000000:0x80000000"},
	} {
		t.Run(tc.layout, func(t *testing.T) {
			high := bridge.PhysAddr(5 << 30)
			if tc.size > 64<<30 {
				high = 44 << 30
			}
			k := memimage.NewKernel(&memimage.KernelOptions{High: high})
			k.AddTrampoline(trampolineAt)
			path := splitRAM(t, k, tc.low, tc.size)
			vmlinux := t.TempDir() + "/vmlinux"
			rig.Must(t, k.WriteVmlinux(vmlinux, memimage.BuildID))
			var log bytes.Buffer
			m, err := Attach(ctx, &Options{
				Source: path, Vmlinux: vmlinux, VMCoreInfo: "0x5000", Log: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn}),
			})
			rig.Must(t, err)
			defer m.Close()
			if m.Memory.Layout != tc.layout || m.Kernel.TextPhys != high+k.TextPhys {
				t.Errorf("layout %s, text at phys %#x", m.Memory.Layout, uint64(m.Kernel.TextPhys))
			}
			if n := strings.Count(log.String(), "no kernel found at the address of --vmcoreinfo"); n != 1 {
				t.Errorf("%d warnings of the adopted trial: %s", n, log.String())
			}
		})
	}
}

// TestWholeRAMIsNotSplit has a large file in which offsets are addresses.
func TestWholeRAMIsNotSplit(t *testing.T) {
	k := memimage.NewKernel(&memimage.KernelOptions{High: 5 << 30})
	k.AddTrampoline(trampolineAt)
	m, err := Attach(ctx, &Options{Source: splitRAM(t, k, fourGiB, 8<<30)})
	rig.Must(t, err)
	defer m.Close()
	if m.Memory.Layout != "" {
		t.Errorf("layout %s", m.Memory.Layout)
	}
}

// TestAMapIsNamedWhereNoneFits has a large file without a kernel.
func TestAMapIsNamedWhereNoneFits(t *testing.T) {
	path := t.TempDir() + "/ram"
	f, err := os.Create(path)
	rig.Must(t, err)
	defer f.Close()
	rig.Must(t, f.Truncate(3<<30))
	_, err = f.WriteAt([]byte("no kernel"), 1<<20)
	rig.Must(t, err)
	_, err = Attach(ctx, &Options{Source: path})
	if want := "?map=0:0x80000000:0,0x100000000:0x40000000:0x80000000 or similar"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want %q in it", err, want)
	}
}

// TestTheKernelsListOfRAMNamesTheSplit by its end, whatever the machine.
func TestTheKernelsListOfRAMNamesTheSplit(t *testing.T) {
	k := memimage.NewKernel(nil)
	path := splitRAM(t, k, fourGiB, 6<<30)
	mem, err := dump.OpenFiles([]string{path}, "")
	rig.Must(t, err)
	for end, want := range map[bridge.PhysAddr]uint64{
		fourGiB + 4<<30:          2 << 30,     // QEMU's q35
		fourGiB + 0x1_2000_0000:  0x6000_0000, // of no known machine
		fourGiB + 6<<30:          0,
		2 << 30:                  splits[0], // no RAM above: nothing to learn
		fourGiB + 4<<30 - 0x1001: splits[0], // not a page
	} {
		m := &Machine{Memory: NewMemory(mem, bridge.RAMMap{{Start: 0x1000, End: end}})}
		if got := m.likelySplits(ctx, nil, false)[0]; got != max(want, splits[0]) && got != want {
			t.Errorf("RAM to %#x: %#x, want %#x", uint64(end), got, want)
		}
	}
	rig.Must(t, mem.Close())
}

// TestWhichKernelIsMeant is by what the machine's kernels know of each other.
func TestWhichKernelIsMeant(t *testing.T) {
	m := &Machine{Kernel: &linux.Kernel{Symbols: symbols.NewTable(nil, nil), FoundBy: linux.ByTrampoline}}
	for _, tc := range []struct {
		o    Options
		by   linux.Method
		want bool
	}{
		{Options{}, linux.ByTrampoline, false},
		{Options{}, linux.ByCR3, true}, // of a notice
		{Options{CR3: "0x1000"}, linux.ByCR3, true},
		{Options{VMCoreInfo: "0x1000"}, linux.ByVMCoreInfo, true},
		{Options{VMCoreInfo: "0x1000"}, linux.ByTrampoline, false}, // it led nowhere
	} {
		m.Kernel.FoundBy = tc.by
		if got := m.chosenKernel(&tc.o); got != tc.want {
			t.Errorf("%+v, by %s: %v", tc.o, tc.by, got)
		}
	}
}
