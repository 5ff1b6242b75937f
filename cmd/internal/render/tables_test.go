package render

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/cmd/internal/query"
	"physgdb/test/rig"
)

func TestModuleLines(t *testing.T) {
	for want, m := range map[string]*query.Module{
		"failover                     12288  Live            0xffffffffc04ab000  1 net_failover\n": {
			Name: "failover", Base: 0xffffffffc04ab000, Size: 12288, State: "Live", Refs: 1, UsedBy: []string{"net_failover"}},
		"trouble                       4096  Loading   OE    0xffffffffc04e1000  0\n": {
			Name: "trouble", Base: 0xffffffffc04e1000, Size: 4096, State: "Loading", Taint: "OE"},
		"gone                             0  Unloading       0x0  -\n": {Name: "gone", State: "Unloading", Refs: -1},
	} {
		var got strings.Builder
		rig.Must(t, Modules.Row(&got, m))
		if got.String() != want {
			t.Errorf("%q, want %q", got.String(), want)
		}
	}
}

func TestPerCPULines(t *testing.T) {
	value := query.Address(0x46)
	for want, c := range map[string]*query.PerCPU{
		"CPU 2   0x1000  print *(typeof(&x))0x1000\n":                {CPU: 2, Addr: 0x1000, Expression: "*(typeof(&x))0x1000"},
		"CPU 12  0x1000 = 0x46 <a+0x1>  print *(typeof(&x))0x1000\n": {CPU: 12, Addr: 0x1000, Value: &value, Symbol: "a+0x1", Expression: "*(typeof(&x))0x1000"},
	} {
		var got strings.Builder
		rig.Must(t, PerCPUs.Row(&got, c))
		if got.String() != want {
			t.Errorf("%q, want %q", got.String(), want)
		}
	}
}

func TestTaskLines(t *testing.T) {
	var got strings.Builder
	rig.Must(t, Tasks.Write(&got, []query.Task{
		{PID: 9, TID: 9, PPID: 2, State: "I", Kind: "kernel", Comm: "kworker/0:1", Task: 0xffff888003a42000},
		{PID: 143, TID: 145, PPID: 1, State: "R", Running: true, Kind: "user", Comm: "evil\x1b[2J", Task: 0xffff888003a45000},
	}, false))
	want := `
     PID     TID    PPID S  CPU KIND    TASK                COMM
       9       9       2 I    0 kernel  0xffff888003a42000  kworker/0:1
>    143     145       1 R    0 user    0xffff888003a45000  evil\x1b[2J
`
	if diff := cmp.Diff(want[1:], got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
