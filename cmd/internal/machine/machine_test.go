package machine

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"physgdb/bridge"
	"physgdb/test/rig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// attach finds the kernel of a rig, by its CR3 if o does not say how.
func attachRig(t *testing.T, r *rig.Rig, o Options) *Machine {
	t.Helper()
	o.Source = r.Path("ram")
	if o.CR3 == "" && o.Notify == "" {
		o.CR3 = rig.Hex(r.CR3)
	}
	m, err := Attach(ctx, &o)
	rig.Must(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

func TestMemoryStaysViewable(t *testing.T) {
	r := rig.New(t, 4)
	mem, err := OpenMemory(ctx, &Options{Source: r.Path("ram")})
	rig.Must(t, err)
	defer mem.Close()
	if p, ok := bridge.View(mem, r.TextPhys+8<<21, 5); !ok || string(p) != "Linux" {
		t.Errorf("view %q, %v: a file is no longer shown in place", p, ok)
	}
	if _, ok := bridge.View(mem, bridge.PhysAddr(len(r.RAM)), 1); ok {
		t.Error("memory after the end of the file is shown")
	}
}

func TestAttachClosesItsMemoryWhenItFails(t *testing.T) {
	r := rig.New(t, 4)
	before := mappedFiles(t)
	for range 3 {
		_, err := Attach(ctx, &Options{Source: r.Path("ram"), CR3: "0x5000"})
		rig.WantError(t, err, "maps no kernel")
	}
	if after := mappedFiles(t); after != before {
		t.Errorf("%d mappings of the file are left", after-before)
	}
}

// mappedFiles counts how often this process has a file named ram mapped.
func mappedFiles(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	rig.Must(t, err)
	return strings.Count(string(maps), "/ram\n")
}

func TestUsageErrors(t *testing.T) {
	for name, o := range map[string]*Options{
		"a note at no number":     {Source: "ram", VMCoreInfo: "here"},
		"a note and a CR3":        {Source: "ram", VMCoreInfo: "0x1000", CR3: "0x1000"},
		"a hello without notices": {Source: "ram", CR3: "hello:clock"},
		"a hello without a name":  {Source: "ram", CR3: "hello:", Notify: "notices"},
		"a CR3 that is no number": {Source: "ram", CR3: "clock"},
		"no source":               {CR3: "0x1000"},
	} {
		_, err := Attach(ctx, o)
		if usage := (*UsageError)(nil); !errors.As(err, &usage) {
			t.Errorf("%s: %v is not an error of usage", name, err)
		}
	}
}
