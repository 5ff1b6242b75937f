package query

import (
	"testing"

	"physgdb/symbols/linux/module"

	"physgdb/test/rig"
)

func TestPickModules(t *testing.T) {
	list := &module.List{All: []*module.Module{{Name: "virtio_net"}, {Name: "failover"}}}
	picked, err := pickModules(list, []string{"failover", "virtio-net", "ext4", "xfs"})
	rig.WantError(t, err, `no module "ext4", "xfs" was loaded`)
	if len(picked) != 2 || picked[0].Name != "failover" || picked[1].Name != "virtio_net" {
		t.Errorf("picks %v", picked)
	}
}
