package host

import (
	"strings"
	"testing"

	"physgdb/symbols/linux"
)

func TestModuleLines(t *testing.T) {
	text := func(name string, base, size uint64) []linux.ModuleRegion {
		return []linux.ModuleRegion{{Name: name, Base: base, Size: size, Text: true}}
	}
	for want, md := range map[string]*linux.Module{
		"failover                     12288  Live            0xffffffffc04ab000  1 net_failover\n": {
			Name: "failover", Regions: text("text", 0xffffffffc04ab000, 12288), Refs: 1, UsedBy: []string{"net_failover"}},
		"trouble                       4096  Loading   OE    0xffffffffc04e1000  0\n": {
			Name: "trouble", Regions: text("core", 0xffffffffc04e1000, 4096), State: linux.ModuleComing, Taint: 1<<12 | 1<<13},
		"gone                             0  Unloading       0x0  -\n": {Name: "gone", State: linux.ModuleGoing, Refs: -1},
	} {
		var got strings.Builder
		must(t, newModuleLine(md).write(&got))
		if got.String() != want {
			t.Errorf("%q, want %q", got.String(), want)
		}
	}
}

func TestPickModules(t *testing.T) {
	list := &linux.Modules{All: []*linux.Module{{Name: "virtio_net"}, {Name: "failover"}}}
	picked, err := pickModules(list, []string{"failover", "virtio-net", "ext4", "xfs"})
	wantError(t, err, `modules: no module "ext4", "xfs" was loaded`)
	if len(picked) != 2 || picked[0].Name != "failover" || picked[1].Name != "virtio_net" {
		t.Errorf("picks %v", picked)
	}
}
