package target

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"physgdb/cmd/internal/machine"
	"physgdb/gdbstub"
	"physgdb/test/memimage"
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

// connect opens the machine for one debugger.
func connect(t *testing.T, m *machine.Machine) *session {
	t.Helper()
	target, err := New(m, ThreadsTasks).NewSession(ctx)
	rig.Must(t, err)
	s := target.(*session)
	_, err = s.Threads(ctx)
	rig.Must(t, err)
	return s
}

// user reads what the user page begins with in the address space that s has selected.
func (s *session) user(t *testing.T) string {
	t.Helper()
	p := make([]byte, 4)
	_, err := s.ReadMemory(ctx, s.first, memimage.UserVA, p)
	rig.Must(t, err)
	return string(p)
}

func TestSessionHasEveryAbility(t *testing.T) {
	var s any = (*session)(nil)
	_, writes := s.(gdbstub.RegisterWriter)
	_, moves := s.(gdbstub.Relocator)
	_, borrows := s.(gdbstub.SymbolBorrower)
	_, answers := s.(gdbstub.Monitor)
	_, explains := s.(gdbstub.HaltExplainer)
	_, searches := s.(gdbstub.MemorySearcher)
	_, loads := s.(gdbstub.LoadReader)
	if !writes || !moves || !borrows || !answers || !explains || !searches || !loads {
		t.Error("an ability is lost: ", writes, moves, borrows, answers, explains, searches, loads)
	}
}
