package target

import (
	"context"
	"fmt"

	"physgdb/bridge"
	"physgdb/cmd/internal/machine"
	"physgdb/cmd/internal/query"
	"physgdb/mmu"
)

// view is what one connection looks at: a machine, an address space, and whether addresses are
// physical. It is the part that the sessions for the kernel and for a process have in common. It
// belongs to one connection.
type view struct {
	m        *machine.Machine
	cpusOnly bool // threads are CPUs

	// space is the address space of all threads, if the user selected one; nil if each thread has
	// its own.
	space  *mmu.Space
	spaces map[uint64]*mmu.Space // of the threads' processes, by mm_struct
	now    *thread               // the thread that the client last asked about; may be nil

	physical bool // addresses are physical
	// memoryBlocked is why no memory is shown: the symbols of the client do not fit it. It is nil
	// if they do.
	memoryBlocked error
	panicSummary  string
}

func newView(ctx context.Context, m *machine.Machine, cpusOnly bool) view {
	return view{m: m, cpusOnly: cpusOnly, spaces: map[uint64]*mmu.Space{}, panicSummary: query.PanicSummary(ctx, m)}
}

// spaceFor returns the space in which a thread's address is read. Kernel addresses are the same for
// all threads.
func (v *view) spaceFor(ctx context.Context, t *thread, addr uint64) (*mmu.Space, error) {
	switch {
	case v.space != nil:
		return v.space, nil
	case int64(addr) < 0:
		return v.m.Kernel.Space, nil
	}
	return v.spaceOf(ctx, t)
}

// spaceOf returns the address space of a thread's process.
func (v *view) spaceOf(ctx context.Context, t *thread) (*mmu.Space, error) {
	if t == nil || t.task == nil {
		return v.m.Space, nil
	}
	if space := v.spaces[t.task.MM]; space != nil {
		return space, nil
	}
	space, err := v.m.Kernel.TaskSpace(ctx, t.task)
	if err == nil {
		v.spaces[t.task.MM] = space
	}
	return space, err
}

// current returns the address space that the client looks at: the one that the user selected, or
// that of the thread that was last asked about.
func (v *view) current(ctx context.Context) (*mmu.Space, error) {
	if v.space != nil {
		return v.space, nil
	}
	return v.spaceOf(ctx, v.now)
}

// cr3 returns the root of the address space that a thread is shown.
func (v *view) cr3(ctx context.Context, t *thread) (uint64, error) {
	switch {
	case v.space != nil:
		return v.space.Root().CR3, nil
	case t.task == nil:
		return v.m.Space.Root().CR3, nil
	}
	return v.m.Kernel.TaskCR3(ctx, t.task)
}

// setCR3 selects an address space for all threads.
func (v *view) setCR3(ctx context.Context, cr3 uint64) error {
	space, err := v.m.Kernel.SpaceOf(ctx, cr3)
	if err != nil {
		return err
	}
	v.space = space
	return nil
}

// PhysicalMode reports whether addresses are physical.
func (v *view) PhysicalMode() bool { return v.physical }

// SetPhysicalMode makes addresses physical, or virtual again. What is not RAM is still refused.
func (v *view) SetPhysicalMode(on bool) { v.physical = on }

// readPhysical reads RAM at a physical address.
func (v *view) readPhysical(ctx context.Context, addr uint64, p []byte) (int, error) {
	return bridge.Read(ctx, v.m.Memory, bridge.PhysAddr(addr), p, false)
}

// WhyHalted is the answer to an attempt to run the machine.
func (v *view) WhyHalted() string {
	switch {
	case v.m.Live:
		return whyNotStepped
	case v.panicSummary == "":
		return "This machine is dead: it can be examined, but it cannot run."
	}
	return fmt.Sprintf("This machine is dead (%s): it can be examined, but it cannot run.", v.panicSummary)
}
