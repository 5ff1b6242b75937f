package machine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"physgdb/bridge"
	"physgdb/symbols/linux/iomem"
)

// splits are where RAM below the PCI hole ends on virtual machines that have more: QEMU's q35
// (hw/i386/pc_q35.c); its pc, VMware, Xen, Firecracker; VirtualBox; crosvm; others. The rest of RAM
// begins at 4 GiB.
var splits = []uint64{0x8000_0000, 0xc000_0000, 0xe000_0000, 0xd000_0000, 0xb000_0000, 0xf000_0000, 0xf800_0000}

// fourGiB is where RAM goes on above the PCI hole.
const fourGiB = 1 << 32

// splitLayout is the map= of a source with size bytes of RAM, of which so many lie below the PCI
// hole.
func splitLayout(low, size uint64) string {
	return fmt.Sprintf("0:%#x:0,%#x:%#x:%#x", low, uint64(fourGiB), size-low, low)
}

// settle finds the kernel and what explains it. The RAM of a file without a map= may be split
// around the PCI hole: offsets in it are taken for addresses as long as nothing speaks against it.
func (m *Machine) settle(ctx context.Context, o *Options) error {
	size, unlaid := m.rawSize()
	if !unlaid || size <= slices.Min(splits) {
		return m.identify(ctx, o)
	}
	flat, err := m.trial(ctx, o, m.Memory)
	if err == nil && flat.fits(ctx) {
		m.adopt(flat)
		return nil
	}
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), flat.closeVmlinux())
	}
	split, splitErr := m.findSplit(ctx, o, flat, err == nil && flat.readable(ctx))
	switch {
	case splitErr != nil:
		return errors.Join(splitErr, flat.closeVmlinux())
	case split != nil:
		err := errors.Join(flat.closeVmlinux(), m.Memory.Close())
		m.adopt(split)
		return err
	case err == nil:
		m.adopt(flat)
		return nil
	}
	if err := flat.closeVmlinux(); err != nil {
		return err
	}
	return m.identify(ctx, o)
}

// rawSize returns the size of a source that is RAM as it is, without a map.
func (m *Machine) rawSize() (size uint64, ok bool) {
	source, ok := m.Memory.source.(bridge.Unlaid)
	if !ok {
		return 0, false
	}
	return source.Layout()
}

// identify finds the kernel, and what explains it.
func (m *Machine) identify(ctx context.Context, o *Options) error {
	if err := m.findKernel(ctx, o); err != nil {
		return err
	}
	if err := m.explain(ctx, o); err != nil {
		return err
	}
	return m.preferWanted(ctx, o)
}

// trial looks for the kernel as if mem were right, without a word and without looking through all
// of RAM.
func (m *Machine) trial(ctx context.Context, o *Options, mem *Memory) (*Machine, error) {
	t := *m
	t.Memory, t.Log, t.shared = mem, newLogKeeper(), m.vmlinux
	quiet := *o
	quiet.Notes, quiet.quick = nil, true
	err := t.identify(ctx, &quiet)
	return &t, err
}

// adopt takes what a trial has found, and logs what it had to say.
func (m *Machine) adopt(t *Machine) {
	log, shared := m.Log, m.shared
	*m = *t
	m.Log, m.shared = log, shared
	if kept, ok := t.Log.(*logKeeper); ok {
		kept.replay(log)
	}
}

// readable reports whether the kernel's image was read, not only the page tables that map it.
func (m *Machine) readable(ctx context.Context) bool {
	return m.Kernel.Symbols != nil || m.Kernel.Banner(ctx) != ""
}

// fits reports whether the kernel's own list of RAM can be read, and all of that is in the source.
func (m *Machine) fits(ctx context.Context) bool {
	ram, err := m.ramByKernel(ctx)
	return err == nil && m.Memory.source.Info().RAM.Intersect(ram).Size() == ram.Size()
}

func (m *Machine) ramByKernel(ctx context.Context) (bridge.RAMMap, error) {
	if m.Kernel.Symbols == nil {
		return nil, errors.New("the kernel's symbols are not known")
	}
	return iomem.RAMMap(ctx, m.Kernel)
}

// findSplit looks for the split of RAM that fits: one that the kernel's own list of RAM proves, or
// else one under which a kernel can be read, if found says that none can be read without. It
// returns nil if there is none.
func (m *Machine) findSplit(ctx context.Context, o *Options, flat *Machine, found bool) (*Machine, error) {
	size, _ := m.rawSize()
	var likely *Machine
	for _, low := range m.likelySplits(ctx, flat, found) {
		if low >= size {
			continue
		}
		t, proven, err := m.trySplit(ctx, o, splitLayout(low, size))
		switch {
		case err != nil:
			return nil, errors.Join(err, likely.drop())
		case proven:
			return t, likely.drop()
		case t != nil && likely == nil && !found && t.readable(ctx):
			likely = t
		default:
			if err := t.drop(); err != nil {
				return nil, err
			}
		}
	}
	return likely, nil
}

// trySplit looks for the kernel under a layout. The result is nil if there is none.
func (m *Machine) trySplit(ctx context.Context, o *Options, layout string) (t *Machine, proven bool, err error) {
	source, err := m.Memory.source.(bridge.Unlaid).Lay(layout)
	if err != nil {
		return nil, false, err
	}
	mem := NewMemory(source, m.Memory.byUser)
	mem.Layout = layout
	t, err = m.trial(ctx, o, mem)
	if err != nil {
		return nil, false, errors.Join(ctx.Err(), t.drop())
	}
	return t, t.fits(ctx) && t.reachesEnd(ctx) && t.tasksAreWhole(ctx), ctx.Err()
}

// drop closes a trial that failed. It may be nil.
func (m *Machine) drop() error {
	if m == nil {
		return nil
	}
	return m.Close()
}

// likelySplits lists where RAM below the PCI hole may end, the likeliest first: where the kernel's
// own list of RAM, or the user's, leaves room for the rest of the source from 4 GiB on.
func (m *Machine) likelySplits(ctx context.Context, flat *Machine, found bool) []uint64 {
	size, _ := m.rawSize()
	ram := m.Memory.byUser
	if found {
		if list, err := flat.ramByKernel(ctx); err == nil {
			ram = list
		}
	}
	if !ram.Known() {
		return splits
	}
	high := uint64(ram[len(ram)-1].End) - fourGiB
	if low := size - high; high < size && low < fourGiB && low%bridge.PageSize == 0 {
		return append([]uint64{low}, splits...)
	}
	return splits
}

// reachesEnd reports whether the source ends where the kernel's RAM does, but for what firmware may
// keep for itself.
func (m *Machine) reachesEnd(ctx context.Context) bool {
	const kept = 128 << 20
	ram, err := m.ramByKernel(ctx)
	if err != nil {
		return false
	}
	source := m.Memory.source.Info().RAM
	return source[len(source)-1].End-ram[len(ram)-1].End <= kept
}

// tasksAreWhole reports whether the list of tasks can be followed to its end: they lie all over
// RAM.
func (m *Machine) tasksAreWhole(ctx context.Context) bool {
	list, err := m.Kernel.Tasks(ctx)
	return err == nil && len(list.Damage) == 0
}
