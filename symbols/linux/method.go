package linux

import (
	"context"
	"errors"

	"physgdb/bridge"
)

// Method is a way in which a kernel was found.
type Method string

// The methods, in the order in which the package find tries them: the cheapest first.
const (
	ByCR3        Method = "CR3"                  // given by the user or a notice
	ByVMCoreInfo Method = "VMCOREINFO"           // given by the user or a notice
	ByTrampoline Method = "real-mode trampoline" // the code below 640 KiB that starts further CPUs
	ByBanner     Method = "banner"               // that of the vmlinux, searched at all possible addresses
	ByNoteScan   Method = "VMCOREINFO scan"      // searched in all of RAM

	// ByELFCoreHeaders is the method for a kernel whose dump another one captures.
	ByELFCoreHeaders Method = "elfcorehdr= of its capture kernel"
)

// Found records how the kernel was found. It switches from the page tables of a trampoline to the
// kernel's own.
func (k *Kernel) Found(ctx context.Context, by Method) error {
	k.FoundBy = by
	if err := k.leaveTrampoline(ctx); err != nil || by != ByTrampoline {
		return err
	}
	return k.useInitTop(ctx)
}

// useInitTop switches to the kernel's own top-level table if its symbols have the address. That of
// the trampoline is a copy that was made at boot: entries that were added later, such as for
// hot-plugged memory, are missing there.
func (k *Kernel) useInitTop(ctx context.Context) error {
	va, ok := k.Addr("init_top_pgt")
	if !ok {
		return nil
	}
	l, err := LocateFound(ctx, k.m, uint64(k.TextPhys)+(va-k.Text), k.Root.Levels)
	switch {
	case ctx.Err() != nil || errors.Is(err, bridge.ErrTimeout):
		return err
	case err != nil || l.Text != k.Text || l.TextPhys != k.TextPhys:
		return nil // damaged: keep the copy
	}
	k.Location = *l
	k.Space, err = k.m.Space(l.Root)
	return err
}

// leaveTrampoline switches to the kernel's own page tables if its symbols have their address. Those
// of the trampoline map low memory at address 0, too: a read through a null pointer, or of a
// per-CPU variable without the base of its CPU, would succeed.
func (k *Kernel) leaveTrampoline(ctx context.Context) error {
	if k.FoundBy != ByTrampoline || k.Symbols == nil {
		return nil
	}
	space, err := k.SpaceOf(ctx, k.lastingRoot(ctx).CR3)
	if err != nil {
		return ctx.Err() // damaged: keep those of the trampoline
	}
	k.Space, k.Root = space, space.Root()
	return nil
}
