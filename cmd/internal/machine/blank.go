package machine

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"physgdb/bridge"
	"physgdb/symbols/linux"
)

// leastRAM is less memory than any machine has that ran an x86-64 kernel, in bytes.
const leastRAM = 1 << 20

// checkNotBlank refuses a source that cannot be the memory of a machine: one that is too small, or
// a file in which all bytes are equal. It takes no reads; a source that cannot be seen in place, or
// has no RAM map, is not judged.
func (m *Machine) checkNotBlank(ctx context.Context, o *Options) error {
	ram := m.Memory.Info().RAM
	if !ram.Known() {
		return nil
	}
	if size := ram.Size(); size < leastRAM {
		return fmt.Errorf("the source has only %d bytes, less RAM than any machine has; is %s complete?", size, o.Source)
	}
	value, blank := m.Memory.blank(ctx)
	if !blank {
		return ctx.Err()
	}
	what := fmt.Sprintf("all %#02x", value)
	switch value {
	case 0:
		what = "all zeros"
	case 0xff:
		what = "all ones"
	}
	return fmt.Errorf("the source is %s, which is not the RAM of a machine; was %s written by a program that could read that RAM?", what, o.Source)
}

// blank reports whether all bytes are equal, and to what. It looks at pages that lie evenly apart,
// and, if these are zero, at all of them: most of a large machine's RAM may be zero, but no other
// byte fills a page of each part.
func (m *Memory) blank(ctx context.Context) (value byte, blank bool) {
	const pages = 256
	data := bridge.DataOf(m.guard)
	if !data.Known() {
		return 0, true
	}
	if value, blank = m.uniform(ctx, data, max(bridge.PageSize, data.Size()/pages)); blank && value == 0 {
		return m.uniform(ctx, data, bridge.PageSize)
	}
	return value, blank
}

// uniform reports whether pages of data that lie a number of bytes apart hold one byte alone, and
// which.
func (m *Memory) uniform(ctx context.Context, data bridge.RAMMap, apart uint64) (value byte, same bool) {
	for _, r := range data {
		for at := r.Start; at < r.End && ctx.Err() == nil; at += bridge.PhysAddr(apart) {
			p, ok := bridge.View(m, at, int(min(bridge.PageSize, uint64(r.End-at))))
			fits := false
			if ok {
				ok = bridge.InPlace(func() {
					if !same {
						value = p[0]
					}
					fits = uniform(p, value)
				}) == nil
			}
			if !ok || !fits {
				return 0, false
			}
			same = true
		}
	}
	return value, same && ctx.Err() == nil
}

// uniform reports whether all bytes have a value.
func uniform(p []byte, value byte) bool {
	return len(p) == 0 || p[0] == value && bytes.Equal(p[1:], p[:len(p)-1])
}

// checkVMCoreInfo says that there is no VMCOREINFO where the user says, if the search without it
// takes longer than a moment: what came of it is said in the end. Where RAM may be split around the
// PCI hole, which is found out later, addresses above it are not judged. stop ends the waiting.
func (m *Machine) checkVMCoreInfo(ctx context.Context, o *Options) (stop func() bool) {
	const moment = time.Second
	at, err := bridge.ParseAddr(o.VMCoreInfo)
	size, unlaid := m.rawSize()
	if o.VMCoreInfo == "" || err != nil || unlaid && size > slices.Min(splits) && uint64(at) >= slices.Min(splits) {
		return func() bool { return false }
	}
	p, ok := bridge.View(m.Memory, at, 2*bridge.PageSize) // longer notes are none
	if !ok {
		p = make([]byte, 2*bridge.PageSize)
		n, _ := bridge.Read(ctx, m.Memory.guard, at, p, true) // what is wrong with it is said in the end
		p = p[:n]
	}
	var wrong error
	gone := bridge.InPlace(func() { _, wrong = linux.ParseVMCoreInfo(p) })
	if wrong = cmp.Or(gone, wrong); wrong == nil {
		return func() bool { return false }
	}
	return time.AfterFunc(moment, func() {
		m.Log.Warn("no VMCOREINFO at the address of --vmcoreinfo; looking for the kernel without it", "address", o.VMCoreInfo,
			"error", wrong)
	}).Stop
}
