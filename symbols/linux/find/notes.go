package find

import (
	"bytes"
	"context"
	"fmt"

	"physgdb/bridge"
	"physgdb/symbols/linux"
)

// byVMCoreInfo tries the note whose address was given.
func (f *finder) byVMCoreInfo(ctx context.Context) (*linux.Kernel, error) {
	if f.o.VMCoreInfo == 0 {
		return nil, nil
	}
	return f.tryVMCoreInfo(ctx, linux.ByVMCoreInfo, f.o.VMCoreInfo)
}

// byNoteScan searches for a note at the start of every page of RAM, where kernels put it. If there
// is a vmlinux, byBanner has found its kernel or there is none, so that the scan only finds which
// other kernel is there.
func (f *finder) byNoteScan(ctx context.Context) (*linux.Kernel, error) {
	ram := f.mem.Info().RAM
	switch {
	case f.sawOther() || f.o.Quick:
		return nil, nil
	case !ram.Known() && f.o.Symbols == nil: // otherwise byBanner has recorded the failure
		return nil, f.recordFailure(ctx, ErrNoRAMMap)
	case !ram.Known():
		return nil, nil
	}
	ram = bridge.DataOf(f.mem)
	p := &probe{size: linux.VMCoreInfoNoteHeader, passed: f.progress(ram), hit: func(at bridge.PhysAddr, p []byte) (*linux.Kernel, error) {
		if _, ok := linux.VMCoreInfoNoteSize(p); ok || bytes.HasPrefix(p, []byte(linux.VMCoreInfoStart)) {
			return f.tryVMCoreInfo(ctx, linux.ByNoteScan, at)
		}
		return nil, nil
	}}
	return f.search(ctx, p, everyIn(ram, bridge.PageSize, 0, linux.VMCoreInfoNoteHeader),
		"no VMCOREINFO at the start of a page of RAM leads to it")
}

func (f *finder) tryVMCoreInfo(ctx context.Context, method linux.Method, at bridge.PhysAddr) (*linux.Kernel, error) {
	v, err := f.readVMCoreInfo(ctx, at)
	if err != nil {
		return nil, f.recordFailure(ctx, fmt.Errorf("VMCOREINFO at phys %#x: %w", uint64(at), err))
	}
	where := fmt.Sprintf("VMCOREINFO at phys %#x, of %q", uint64(at), v.Release)
	c := &candidate{method: method, where: where, cr3: v.CR3(), levels: v.Levels}
	c.fits = func(l *linux.Location) error {
		if l.PhysBase() != v.PhysBase {
			return fmt.Errorf("its phys_base is %#x, but that of its page tables is %#x", v.PhysBase, l.PhysBase())
		}
		l.Note = at
		return nil
	}
	return f.try(ctx, c)
}

// readVMCoreInfo reads a note, or the text alone. One read is enough for existing kernels.
func (f *finder) readVMCoreInfo(ctx context.Context, at bridge.PhysAddr) (*linux.VMCoreInfo, error) {
	p := make([]byte, bridge.PageSize)
	n, err := bridge.Read(ctx, f.mem, at, p, true)
	p = p[:n]
	if size, ok := linux.VMCoreInfoNoteSize(p); ok && n == bridge.PageSize && size > n {
		p = append(p, make([]byte, size-n)...)
		n, err = bridge.Read(ctx, f.mem, at+bridge.PageSize, p[bridge.PageSize:], true)
		p = p[:bridge.PageSize+n]
	}
	v, wrong := linux.ParseVMCoreInfo(p)
	if wrong != nil && err != nil {
		return nil, err
	}
	return v, wrong
}
