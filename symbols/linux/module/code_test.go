package module

import (
	"strings"
	"testing"

	"physgdb/bridge"
	"physgdb/symbols/orc"
)

func TestFrameRuleReportsDamagedTable(t *testing.T) {
	const inModule = 0xffffffffc0000000
	w := newWorld(t, nil)
	kernel, err := orc.New(0xffffffff81000000, make([]byte, 8), make([]byte, 12), orc.Linux4_14)
	if err != nil {
		t.Fatal(err)
	}
	w.mods.list.Set(&List{All: []*Module{{
		Name: "torn", Regions: []Region{{Name: "text", Base: inModule, Size: 0x1000, Text: true}},
		owner: w.mods, orc: orcPlace{ips: 0x1234, entries: inModule, count: 1},
	}}})
	_, found, err := w.mods.FrameRule(ctx, kernel, inModule+0x10)
	if found || err == nil || !strings.Contains(err.Error(), "ORC table of module torn") {
		t.Errorf("%v, %v", found, err)
	}
	if _, found, err := w.mods.FrameRule(ctx, kernel, inModule-1); found || err != nil {
		t.Errorf("outside of modules: %v, %v", found, err)
	}
}

func TestModulesRecordTimeouts(t *testing.T) {
	for _, why := range []error{bridge.ErrTimeout, bridge.ErrNotRAM} {
		w := newModuleWorld(t, false)
		w.load("a")
		w.load("b")
		w.Fake.Fail(bridge.PhysAddr(w.node("a")-base), 8, why)
		ms, err := Read(ctx, w.Kernel)
		if err != nil || len(ms.Damage) == 0 {
			t.Fatalf("%v: %+v, %v", why, ms, err)
		}
		if silent := why == bridge.ErrTimeout; ms.TimedOut() != silent {
			t.Errorf("%v: to be read again: %v", why, ms.TimedOut())
		}
	}
}
