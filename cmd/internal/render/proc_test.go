package render

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/symbols/linux"
)

// TestProcModules wants lines as kernels print them.
func TestProcModules(t *testing.T) {
	region := func(base, size uint64) []linux.ModuleRegion { return []linux.ModuleRegion{{Base: base, Size: size}} }
	const proprietary, outOfTree = 1 << 0, 1 << 12 // include/linux/panic.h
	for _, tc := range []struct {
		module *linux.Module
		want   string
	}{
		{&linux.Module{
			Name: "virtio", Refs: 2, UsedBy: []string{"virtio_net", "virtio_pci"}, Regions: region(0xffffffffc03ee000, 20480)},
			"virtio 20480 2 virtio_net,virtio_pci, Live 0xffffffffc03ee000"},
		{&linux.Module{Name: "physgdb", Taint: outOfTree, Regions: region(0xffffffffc0414000, 16384)},
			"physgdb 16384 0 - Live 0xffffffffc0414000 (O)"},
		{&linux.Module{Name: "stays", Refs: 1, Permanent: true, UsedBy: []string{"a"}},
			"stays 0 1 a,[permanent], Live 0x0000000000000000"},
		{&linux.Module{Name: "goes", Refs: -1, State: linux.ModuleGoing, Taint: proprietary},
			"goes 0 -1 - Unloading 0x0000000000000000 (P-)"},
		{&linux.Module{Name: "comes", Refs: 1, State: linux.ModuleComing}, "comes 0 1 - Loading 0x0000000000000000 (+)"},
	} {
		if diff := cmp.Diff(tc.want, procModule(tc.module)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
