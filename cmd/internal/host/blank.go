package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"physgdb/bridge"
	"physgdb/symbols/linux"
)

// leastRAM is less memory than any machine has that ran an x86-64 kernel, in bytes.
const leastRAM = 1 << 20

// checkNotBlank refuses, after few reads, a source that cannot be the memory of a machine: one that is too small, or in which all
// bytes are equal. What cannot be read, or has no RAM map, is not judged.
func (m *Machine) checkNotBlank(ctx context.Context, o *Options) error {
	ram := m.Memory.Info().RAM
	if !ram.Known() {
		return nil
	}
	if size := ram.Size(); size < leastRAM {
		return fmt.Errorf("the source has %d bytes, and no machine has as little RAM: is %s whole?", size, o.Source)
	}
	value, blank, err := m.Memory.blank(ctx)
	if !blank || err != nil {
		return err
	}
	what := fmt.Sprintf("all %#02x", value)
	switch value {
	case 0:
		what = "all zeros"
	case 0xff:
		what = "all ones"
	}
	return fmt.Errorf("the source is %s, and no machine's RAM: did what wrote %s read the machine's memory?", what, o.Source)
}

// blank reports whether all bytes are equal, and to what. It looks at pages that lie evenly apart, and, if these are zero, at all of
// them: most of a large machine's RAM may be zero, but no other byte fills a page of each part.
func (m *Memory) blank(ctx context.Context) (value byte, blank bool, err error) {
	data := bridge.DataOf(m.guard)
	if !data.Known() {
		return 0, true, nil
	}
	value, blank, err = m.samples(ctx, data)
	if !blank || value != 0 || err != nil {
		return value, blank, err
	}
	return 0, m.allZero(ctx, data), ctx.Err()
}

// samples reports whether all of the pages that it looks at hold one byte alone, and which. The error is ctx's.
func (m *Memory) samples(ctx context.Context, data bridge.RAMMap) (value byte, same bool, err error) {
	const pages = 256
	step := max(bridge.PageSize, data.Size()/pages&^(bridge.PageSize-1))
	var ops []bridge.Op
	left := uint64(0) // how far the next sample is into the next range, in bytes
	for _, r := range data {
		size := uint64(r.End - r.Start)
		for ; left < size; left += step {
			n := min(bridge.PageSize, size-left)
			ops = append(ops, bridge.Op{Addr: r.Start + bridge.PhysAddr(left), Buf: make([]byte, n)})
		}
		left -= size
	}
	if err := m.guard.ReadPhys(ctx, ops); err != nil || ctx.Err() != nil {
		return 0, false, ctx.Err() // whoever looks for the kernel says what is wrong with the source
	}
	for i := range ops {
		op := &ops[i]
		if op.Err != nil || !uniform(op.Buf, ops[0].Buf[0]) {
			return 0, false, nil
		}
	}
	return ops[0].Buf[0], len(ops) > 0, nil
}

// allZero reports whether all data is zero. It looks at memory in place: where that cannot be, it reports false, as it would take as
// long as a search.
func (m *Memory) allZero(ctx context.Context, data bridge.RAMMap) bool {
	const piece = 1 << 20
	for _, r := range data {
		for at := r.Start; at < r.End && ctx.Err() == nil; at += piece {
			p, ok := m.View(at, int(min(piece, uint64(r.End-at))))
			zero := false
			if ok {
				ok = bridge.InPlace(func() { zero = uniform(p, 0) }) == nil
			}
			if !ok || !zero {
				return false
			}
		}
	}
	return true
}

// uniform reports whether all bytes have a value.
func uniform(p []byte, value byte) bool {
	return len(p) == 0 || p[0] == value && bytes.Equal(p[1:], p[:len(p)-1])
}

// doubtVMCoreInfo says at once that there is no VMCOREINFO where the user says: the search without it may take long. Where RAM may be
// split around the PCI hole, which is found out later, addresses above it are not judged.
func (m *Machine) doubtVMCoreInfo(ctx context.Context, o *Options) {
	at, err := bridge.ParseAddr(o.VMCoreInfo)
	if o.VMCoreInfo == "" || err != nil {
		return
	}
	if size, unlaid := m.rawSize(); unlaid && size > slices.Min(splits) && uint64(at) >= slices.Min(splits) {
		return
	}
	p := make([]byte, 2*bridge.PageSize)
	n, err := bridge.Read(ctx, m.Memory.guard, at, p, true)
	if _, wrong := linux.ParseVMCoreInfo(p[:n]); wrong != nil && ctx.Err() == nil {
		m.log.Warn("there is no VMCOREINFO where --vmcoreinfo says; the kernel is looked for without it", "address", o.VMCoreInfo, "error",
			errors.Join(err, wrong))
	}
}
