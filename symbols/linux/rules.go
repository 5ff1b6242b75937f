package linux

import (
	"context"
	"fmt"

	"physgdb/symbols"
	"physgdb/symbols/orc"
)

// FrameRule returns how to unwind the function at an address of the running kernel.
func (k *Kernel) FrameRule(ctx context.Context, pc uint64) (symbols.FrameRule, error) {
	table, err := k.Unwinder(ctx)
	if err != nil {
		return symbols.FrameRule{}, err
	}
	if rule, ok := table.At(pc - k.Slide); ok {
		return rule, nil
	}
	rule, ok, why := k.Code.FrameRule(ctx, table, pc)
	if !ok && why == nil {
		rule, ok, why = k.generatedRule(ctx, table, pc)
	}
	switch {
	case ok:
		return rule, nil
	case ctx.Err() != nil:
		return rule, ctx.Err()
	case why != nil:
		return rule, fmt.Errorf("no unwind table covers the code at %#x: %w", pc, why)
	}
	return rule, fmt.Errorf("no unwind table covers the code at %#x", pc)
}

// Unwinder returns the kernel's own unwind table, in link addresses: from its vmlinux, or else from
// memory.
func (k *Kernel) Unwinder(ctx context.Context) (symbols.Unwinder, error) {
	return k.unwinder.Get(ctx, func(ctx context.Context) (symbols.Unwinder, error) {
		if k.debug != nil {
			if u, err := k.debug.Unwinder(); err == nil {
				return u, nil
			}
		}
		s, err := k.ReadORC(ctx)
		if err != nil {
			return nil, fmt.Errorf("no unwind tables: %w", err)
		}
		table, err := s.Table()
		if err != nil {
			return nil, err
		}
		table.FollowStackCalls(k.Symbols)
		return table, nil
	})
}

// ReadORC reads the ORC tables in the kernel's memory (arch/x86/kernel/unwind_orc.c), with their
// link addresses.
func (k *Kernel) ReadORC(ctx context.Context) (*orc.Sections, error) {
	const maxSize = 16 << 20 // bytes of one table; kernels have some 3 MB
	s := &orc.Sections{}
	for _, part := range []struct {
		name     string
		to       *symbols.Blob
		optional bool
	}{
		{"unwind_ip", &s.IPs, false}, {"unwind", &s.Entries, false}, {"header", &s.Header, true}, // that one since Linux 6.4
	} {
		blob, err := k.readBetween(ctx, "__start_orc_"+part.name, "__stop_orc_"+part.name, maxSize)
		switch {
		case err == nil:
			*part.to = blob
			continue
		case part.optional:
			continue
		case !k.NamesFunctionsOnly():
			return nil, err
		}
		return k.scanORC(ctx)
	}
	return s, s.FindFormat()
}

// readBetween reads the memory between two symbols. The address of the result is the link address.
func (k *Kernel) readBetween(ctx context.Context, from, to string, maxSize uint64) (symbols.Blob, error) {
	start, ok1 := k.Addr(from)
	stop, ok2 := k.Addr(to)
	switch {
	case !ok1 || !ok2:
		return symbols.Blob{}, k.NoSymbol(from, to)
	case stop < start || stop-start > maxSize:
		return symbols.Blob{}, fmt.Errorf("%s..%s: damaged", from, to)
	}
	p := make([]byte, stop-start)
	_, err := k.Space.ReadMemory(ctx, start, p)
	return symbols.Blob{Addr: start - k.Slide, Data: p}, err
}
