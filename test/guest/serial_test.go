package guest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const panicLog = `[    5.1] Call Trace:
[    5.1]  <TASK>
[    5.1]  old+0x1/0x2
[    5.1]  </TASK>
[    7.7] Kernel panic - not syncing: sysrq triggered crash
[    7.7] Call Trace:
[    7.7]  <IRQ>
[    7.7][    C0]  dump_stack_lvl+0x45/0x5e
[    7.7][    T1]  ? _printk+0x58/0x6f
[    7.7]  </IRQ>
[    7.7]  <TASK>
[    7.7]  write.cold+0x5/0x18 [mod]
[    7.7]  entry_SYSCALL_64_after_hwframe+0x6e/0xd8
[    7.7] RIP: 0033:0x7f1
[    7.7]  </TASK>
[    7.7]  later+0x1/0x2
[    7.8] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---
`

func TestCallTrace(t *testing.T) {
	want := []string{"dump_stack_lvl", "write.cold", "entry_SYSCALL_64_after_hwframe"}
	if diff := cmp.Diff(want, callTrace(panicLog)); diff != "" {
		t.Error(diff)
	}
	if got := callTrace("no trace here"); got != nil {
		t.Errorf("got %q from a log without one", got)
	}
}

func TestPanickedWaitsForTheWholeLine(t *testing.T) {
	if !panicked(panicLog) {
		t.Error("not seen")
	}
	if panicked(panicLog[:len(panicLog)-1]) {
		t.Error("seen before the end of the line")
	}
}

func TestMemoryMap(t *testing.T) {
	for size, want := range map[uint64]string{
		512 << 20:  "",
		2815 << 20: "",
		2816 << 20: "?map=0:0x80000000:0,0x100000000:0x30000000:0x80000000",
		6 << 30:    "?map=0:0x80000000:0,0x100000000:0x100000000:0x80000000",
	} {
		if got := memoryMap(size); got != want {
			t.Errorf("%d MiB: got %q, want %q", size>>20, got, want)
		}
	}
}
