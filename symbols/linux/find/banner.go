package find

import (
	"context"
	"fmt"
	"iter"

	"physgdb/bridge"
	"physgdb/symbols/linux"
)

// byBanner searches for the banner of the vmlinux at all places where it can be: the physical
// address of a kernel is a multiple of 2 MiB. The place of the banner gives the physical address of
// the image, and so of init_top_pgt.
func (f *finder) byBanner(ctx context.Context) (*linux.Kernel, error) {
	if f.o.Symbols == nil {
		return nil, nil
	}
	banner, ok1 := f.imageOffset("linux_banner")
	top, ok2 := f.imageOffset("init_top_pgt")
	if !ok1 || !ok2 {
		return nil, f.recordFailure(ctx, fmt.Errorf("%w, or of none: it has no symbols _text, linux_banner, init_top_pgt",
			linux.ErrOtherKernel))
	}
	ram := f.mem.Info().RAM
	if !ram.Known() {
		return nil, f.recordFailure(ctx, ErrNoRAMMap)
	}
	ram = bridge.DataOf(f.mem)
	p := &probe{size: len(linux.BannerStart), passed: f.progress(ram)}
	p.hit = func(at bridge.PhysAddr, p []byte) (*linux.Kernel, error) {
		if string(p) != linux.BannerStart {
			return nil, nil
		}
		text := at - banner
		where := fmt.Sprintf("banner at phys %#x", uint64(at))
		c := &candidate{method: linux.ByBanner, where: where, cr3: uint64(text + top), levels: f.o.Levels}
		c.fits = func(l *linux.Location) error {
			if l.TextPhys != text {
				return fmt.Errorf("its page tables map a kernel at phys %#x, not here", uint64(l.TextPhys))
			}
			return nil
		}
		return f.try(ctx, c)
	}
	return f.search(ctx, p, everyIn(ram, linux.ImageAlign, banner, len(linux.BannerStart)),
		"no banner where that of the vmlinux could lie leads to it")
}

// imageOffset returns the distance of a symbol of the vmlinux from _text, in bytes.
func (f *finder) imageOffset(name string) (bridge.PhysAddr, bool) {
	text, ok1 := f.o.Symbols.Lookup("_text")
	s, ok2 := f.o.Symbols.Lookup(name)
	return bridge.PhysAddr(s.Addr - text.Addr), ok1 && ok2 && s.Addr >= text.Addr && s.Addr-text.Addr < linux.ImageSpan
}

// everyIn returns, in ascending order, the addresses that are a multiple of step plus offset and
// from which on RAM has n bytes. step is a power of two.
func everyIn(ram bridge.RAMMap, step, offset bridge.PhysAddr, n int) iter.Seq[bridge.PhysAddr] {
	return func(yield func(bridge.PhysAddr) bool) {
		for _, r := range ram {
			at := offset
			if r.Start > offset {
				at += (r.Start - offset + step - 1) &^ (step - 1)
			}
			for at < r.End && r.End-at >= bridge.PhysAddr(n) {
				if !yield(at) {
					return
				}
				if at += step; at < step { // overflow
					return
				}
			}
		}
	}
}
