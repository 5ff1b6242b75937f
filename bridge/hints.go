package bridge

import "context"

// Hinter is the optional ability to report facts about the machine in addition to its memory: the
// registers in a dump, the CPUs of a hypervisor, the notice of a panic.
type Hinter interface {
	// Hints returns what is known now; unknown fields are zero. The error means that hints exist,
	// but could not be read.
	Hints(ctx context.Context) (Hints, error)
}

// Hints is evidence about a machine, not truth: it may be of another boot or of another machine, it
// may be incomplete, or forged. Users verify each part before they use it.
type Hints struct {
	CPUs       []CPU    // those that something is known of, the one that panicked first
	Roots      []Root   // page tables of named programs
	VMCoreInfo PhysAddr // of the text of the VMCOREINFO note; 0 if not known
	Release    string   // of the kernel, as uname -r prints it; empty if not known
}

// CPU is what is known of one CPU.
type CPU struct {
	Number int // as Linux counts CPUs; negative if not known
	// Registers are those that are known, by the names that gdb has for them ("rip", "cr3",
	// "k_gs_base", …).
	Registers map[string]uint64
}

// Root is a page table root and what it is of.
type Root struct {
	Name string // of the program; from the machine, so it may hold any bytes
	CR3  uint64
}

// HintsOf returns the hints of m, none if it is no Hinter. A wrapper forwards the ability of what
// it wraps by calling HintsOf.
func HintsOf(ctx context.Context, m Memory) (Hints, error) {
	if h, ok := m.(Hinter); ok {
		return h.Hints(ctx)
	}
	return Hints{}, nil
}

// Hints returns the hints of the guarded memory.
func (g *Guard) Hints(ctx context.Context) (Hints, error) { return HintsOf(ctx, g.mem) }

// Hints returns the hints of the metered memory.
func (m *Meter) Hints(ctx context.Context) (Hints, error) { return HintsOf(ctx, m.Memory) }

// Hints returns the hints of the cached memory.
func (c *Cache) Hints(ctx context.Context) (Hints, error) { return HintsOf(ctx, c.Memory) }
