package target

import (
	"strings"
	"testing"

	"physgdb/cmd/internal/machine"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/userspace"
	"physgdb/test/memimage"
	"physgdb/test/rig"
)

func TestAProgramShowsTheSpaceThatItsUserChose(t *testing.T) {
	r := rig.New(t, 4)
	m := attach(t, r, machine.Options{})
	clock, err := m.Kernel.SpaceOf(ctx, r.Clock)
	rig.Must(t, err)
	p := newProgram(ctx, m, false, &linux.Task{PID: 143, TGID: 143, MM: 1}, userspace.AMD64, clock)
	_, err = p.Threads(ctx)
	rig.Must(t, err)
	for _, step := range []struct{ line, want string }{
		{"help", "tick"}, // its own, whatever --cr3 was
		{"cr3 " + rig.Hex(r.CR3), "pani"},
		{"cr3 threads", "tick"},
		{"cr3 kernel", "pani"},
	} {
		rig.Must(t, p.Monitor(ctx, &strings.Builder{}, step.line))
		b := make([]byte, 4)
		if _, err := p.ReadMemory(ctx, 143, memimage.UserVA, b); err != nil || string(b) != step.want {
			t.Errorf("after monitor %s: %q, %v; want %q", step.line, b, err, step.want)
		}
		_, found, err := p.SearchMemory(ctx, 143, memimage.UserVA, 4096, []byte(step.want))
		if !found || err != nil {
			t.Errorf("after monitor %s: %q is not found, %v", step.line, step.want, err)
		}
		regs, err := p.Registers(ctx, 143)
		if root := r.Clock; step.want == "tick" && regs["cr3"] != root || err != nil {
			t.Errorf("after monitor %s: cr3 %#x, %v", step.line, regs["cr3"], err)
		}
	}
}
