package find

import (
	"encoding/binary"
	"strings"
	"testing"

	"physgdb/bridge/bridgetest"
	"physgdb/symbols/linux"
	"physgdb/test/memimage"
)

// TestVMCoreInfoLongerThanPage is found, unless RAM ends within it.
func TestVMCoreInfoLongerThanPage(t *testing.T) {
	d := memimage.NewKernel(nil)
	at := d.Page()
	d.Page()
	note := d.VMCoreInfo()
	text := "OSRELEASE=6\nFILLER=" + strings.Repeat("x", 5000) + "\n" + string(note[24:])
	note = append(note[:24:24], text...)
	binary.LittleEndian.PutUint32(note[4:], uint32(len(text)))
	copy(d.RAM[at:], note)
	k, err := find(bridgetest.NewFake(d.RAM), &Options{VMCoreInfo: at})
	if err != nil {
		t.Fatal(err)
	}
	isKernel(t, k, d, linux.ByVMCoreInfo)
	for _, size := range []int{10, 4096, 5000} {
		fake := bridgetest.NewFake(nil)
		fake.Place(at, note[:size])
		_, err := find(fake, &Options{VMCoreInfo: at})
		if err == nil || !strings.Contains(err.Error(), "VMCOREINFO at phys 0x10") {
			t.Errorf("the first %d bytes: %v", size, err)
		}
	}
}

func FuzzParseTrampoline(f *testing.F) {
	d := memimage.NewKernel(&memimage.KernelOptions{Levels: 5})
	d.AddTrampoline(testTable)
	f.Add(d.RAM[testTable+4096:][:trampolineSize])
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) != trampolineSize {
			return
		}
		tr, ok := parseTrampoline(p)
		if ok && (tr.start < 0xffffffff80000000 || tr.start >= 0xffffffffc0000000 || tr.levels != 4 && tr.levels != 5) {
			t.Errorf("%+v", tr)
		}
	})
}
