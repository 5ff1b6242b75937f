package render

import (
	"testing"

	"physgdb/symbols/linux/module"

	"github.com/google/go-cmp/cmp"
)

// TestProcModules wants lines as kernels print them.
func TestProcModules(t *testing.T) {
	region := func(base, size uint64) []module.Region { return []module.Region{{Base: base, Size: size}} }
	const proprietary, outOfTree = 1 << 0, 1 << 12 // include/linux/panic.h
	for _, tc := range []struct {
		md   *module.Module
		want string
	}{
		{&module.Module{
			Name: "virtio", Refs: 2, UsedBy: []string{"virtio_net", "virtio_pci"}, Regions: region(0xffffffffc03ee000, 20480)},
			"virtio 20480 2 virtio_net,virtio_pci, Live 0xffffffffc03ee000"},
		{&module.Module{Name: "physgdb", Taint: outOfTree, Regions: region(0xffffffffc0414000, 16384)},
			"physgdb 16384 0 - Live 0xffffffffc0414000 (O)"},
		{&module.Module{Name: "stays", Refs: 1, Permanent: true, UsedBy: []string{"a"}},
			"stays 0 1 a,[permanent], Live 0x0000000000000000"},
		{&module.Module{Name: "goes", Refs: -1, State: module.Going, Taint: proprietary},
			"goes 0 -1 - Unloading 0x0000000000000000 (P-)"},
		{&module.Module{Name: "comes", Refs: 1, State: module.Coming}, "comes 0 1 - Loading 0x0000000000000000 (+)"},
	} {
		if diff := cmp.Diff(tc.want, procModule(tc.md)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
