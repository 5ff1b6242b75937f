package query

import (
	"testing"

	"physgdb/symbols/linux"
	"physgdb/test/rig"
)

func TestPickModules(t *testing.T) {
	list := &linux.Modules{All: []*linux.Module{{Name: "virtio_net"}, {Name: "failover"}}}
	picked, err := pickModules(list, []string{"failover", "virtio-net", "ext4", "xfs"})
	rig.WantError(t, err, `no module "ext4", "xfs" was loaded`)
	if len(picked) != 2 || picked[0].Name != "failover" || picked[1].Name != "virtio_net" {
		t.Errorf("picks %v", picked)
	}
}
