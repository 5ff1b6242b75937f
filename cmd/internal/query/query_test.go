package query

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"physgdb/cmd/internal/machine"
	"physgdb/test/rig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// attach finds the kernel of a rig, by its CR3 if o does not say how.
func attach(t *testing.T, r *rig.Rig, o machine.Options) *machine.Machine {
	t.Helper()
	o.Source = r.Path("ram")
	if o.CR3 == "" && o.Notify == "" {
		o.CR3 = rig.Hex(r.CR3)
	}
	m, err := machine.Attach(ctx, &o)
	rig.Must(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

func attachWithVmlinux(t *testing.T, r *rig.Rig) *machine.Machine {
	t.Helper()
	return attach(t, r, machine.Options{Vmlinux: r.Path("vmlinux")})
}
