package machine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"physgdb/bridge"
	"physgdb/cmd/internal/progress"
	"physgdb/mmu"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/find"
	"physgdb/symbols/linux/iomem"
	"physgdb/symbols/linux/module"
)

// findKernel finds the kernel: by the CR3 that the user gave, by the notice of the machine, or by a
// search.
func (m *Machine) findKernel(ctx context.Context, o *Options) error {
	walker := newWalker(m.Memory)
	var err error
	if o.CR3 != "" {
		err = m.attachTo(ctx, walker, o)
	} else {
		err = m.search(ctx, walker, o)
	}
	if err != nil {
		return err
	}
	m.take(m.Kernel)
	return nil
}

// take makes k the kernel that is shown.
func (m *Machine) take(k *linux.Kernel) {
	m.Kernel, m.Space = k, k.Space
	m.FoundIn = m.Memory.Counts()
}

// attachTo finds the kernel by the CR3 that the user gave, and in no other way.
func (m *Machine) attachTo(ctx context.Context, walker *mmu.MMU, o *Options) error {
	cr3, err := m.chosenCR3(o.CR3)
	if err != nil {
		return err
	}
	lo := &linux.Options{CR3: cr3, Levels: m.levels(), Code: module.New}
	if m.vmlinux != nil {
		lo.Symbols, lo.Debug = m.vmlinux.Table, m.vmlinux.debug()
	}
	m.Kernel, err = linux.Attach(ctx, walker, lo)
	if errors.Is(err, linux.ErrNoKernel) && m.Process == "" {
		return fmt.Errorf("%w (without --cr3 physgdb looks for the kernel by itself)", err)
	}
	return err
}

// search finds the kernel wherever it is, and begins with what the machine said.
func (m *Machine) search(ctx context.Context, walker *mmu.MMU, o *Options) error {
	fo := m.findOptions()
	fo.Levels, fo.CR3, fo.VMCoreInfo = m.levels(), m.HintedCPU().Registers["cr3"], m.Hints.VMCoreInfo
	fo.Quick = o.quick
	if at, err := bridge.ParseAddr(o.VMCoreInfo); err == nil {
		fo.VMCoreInfo = at
	}
	shown := progress.New(o.Notes, "looking for the kernel")
	fo.Progress = shown.Show
	k, err := find.Kernel(ctx, walker, m.Memory.guard, fo)
	shown.End()
	if err != nil {
		return m.advise(err, o)
	}
	m.Kernel = k
	m.checkNotice(ctx, fo.VMCoreInfo)
	if o.VMCoreInfo != "" && k.FoundBy != linux.ByCR3 && k.FoundBy != linux.ByVMCoreInfo {
		m.Log.Warn("no kernel found at the address of --vmcoreinfo; ignoring it", "address", o.VMCoreInfo, "kernel found by", k.FoundBy)
	}
	return nil
}

// findOptions are what is known before any search: the vmlinux that the user named.
func (m *Machine) findOptions() *find.Options {
	if m.vmlinux == nil || m.vmlinux.made || m.vmlinux.found {
		return &find.Options{Code: module.New}
	}
	return &find.Options{Symbols: m.vmlinux.Table, Debug: m.vmlinux.debug(), Code: module.New}
}

// checkNotice forgets a notice that led nowhere, when the kernel was found in another way: it is of
// another boot, or of another machine, and its registers would be wrong.
func (m *Machine) checkNotice(ctx context.Context, vmcoreinfo bridge.PhysAddr) {
	if m.Notice == nil || m.Kernel.FoundBy == linux.ByCR3 {
		return
	}
	if m.Kernel.FoundBy == linux.ByVMCoreInfo && vmcoreinfo == m.Notice.Hints().VMCoreInfo {
		return
	}
	m.Log.Warn("the notice is not from this machine or this boot; ignoring it", "its CR3", uint64(m.Notice.CR3),
		"kernel found by", m.Kernel.FoundBy)
	m.Notice, m.Hellos = nil, nil
	m.gatherHints(ctx)
}

// advise adds to the error of a search what the user could try.
func (m *Machine) advise(err error, o *Options) error {
	var none *find.NotFoundError
	if !errors.As(err, &none) || errors.Is(err, linux.ErrOtherKernel) {
		return err
	}
	var tips []string
	if errors.Is(err, bridge.ErrNotRAM) && m.Memory.RAMFrom == ramAllOfSource {
		tips = append(tips, "a complete source: "+m.sourceIsShort())
	}
	if size, ok := m.rawSize(); ok && size > splits[0] {
		tips = append(tips, fmt.Sprintf("?map=%s or similar, if RAM is split around the PCI hole", splitLayout(splits[0], size)))
	}
	if !m.Memory.Info().RAM.Known() {
		tips = append(tips, "--ram FILE, the target's /proc/iomem, so that RAM can be searched")
	}
	if o.Vmlinux == "" {
		tips = append(tips, "--vmlinux FILE")
	}
	tips = append(tips, "--cr3 HEX, of any task of the target", "--vmcoreinfo HEX")
	return fmt.Errorf("%w; try %s", err, strings.Join(tips, "; or "))
}

// sourceIsShort says that memory ends too early.
func (m *Machine) sourceIsShort() string {
	ram := m.Memory.Info().RAM
	return fmt.Sprintf("it ends at phys %#x, but the machine had memory above that address", uint64(ram[len(ram)-1].End))
}

// learnRAM narrows the guard to what is RAM by the kernel's own list. Where that cannot be had, the
// guard stays as it is.
func (m *Machine) learnRAM(ctx context.Context) {
	if m.Kernel.Symbols == nil {
		return
	}
	if _, err := m.Kernel.Types(ctx); err != nil {
		m.Log.Info("the kernel's RAM map cannot be read", "why", err)
		return
	}
	ram, err := iomem.RAMMap(ctx, m.Kernel)
	if err == nil {
		err = m.Memory.guard.Narrow(ram)
	}
	switch {
	case errors.Is(err, bridge.ErrNotRAM) && m.Memory.RAMFrom == ramAllOfSource:
		m.Log.Warn("the source is incomplete: "+m.sourceIsShort(), "such as", err)
		return
	case err != nil:
		m.Log.Warn("the kernel's own list of RAM is wrong; ignoring it", "why", err)
		return
	}
	from := "by the kernel's own list"
	if m.Memory.RAMFrom == ramByUser {
		from += ", within that of --ram"
	}
	m.Memory.RAMFrom = from
}
