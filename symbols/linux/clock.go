package linux

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// timekeeper is struct timekeeper (include/linux/timekeeper_internal.h).
type timekeeper struct {
	OffsReal uint64 `c:"offs_real"`           // from the monotonic clock to the wall clock, ns
	OffsBoot uint64 `c:"offs_boot"`           // how long the machine was suspended, ns
	Base     uint64 `c:"tkr_mono.base"`       // the monotonic clock at the last tick, ns
	Fraction uint64 `c:"tkr_mono.xtime_nsec"` // its fraction, shifted left by Shift
	Shift    uint64 `c:"tkr_mono.shift"`
}

// BootTime returns when the kernel was started, by the wall clock of the target machine at its
// death. The time of a log message since boot added to it gives the wall clock time of the message,
// within some tens of milliseconds unless the machine was suspended in between.
func (k *Kernel) BootTime(ctx context.Context) (time.Time, error) {
	tk, err := k.timekeeper(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("the kernel's boot time: %w", err)
	}
	return time.Unix(0, int64(tk.OffsReal-tk.OffsBoot)), nil
}

// Uptime returns the uptime of the machine, including suspends, at the last timer tick. A panicked
// kernel handles timer ticks until the machine is halted, so that this is later than the panic; the
// log has the time of the panic.
func (k *Kernel) Uptime(ctx context.Context) (time.Duration, error) {
	tk, err := k.timekeeper(ctx)
	if err != nil {
		return 0, fmt.Errorf("the kernel's uptime: %w", err)
	}
	monotonic := tk.Base + tk.Fraction>>(tk.Shift%64)
	return time.Duration(monotonic + tk.OffsBoot), nil
}

// timekeeper reads the kernel's timekeeper (kernel/time/timekeeping.c).
func (k *Kernel) timekeeper(ctx context.Context) (*timekeeper, error) {
	addr, err := k.timekeeperAddr(ctx)
	if err != nil {
		return nil, err
	}
	layout, err := StructOf[timekeeper](ctx, k, "timekeeper")
	if err != nil {
		return nil, err
	}
	return layout.ReadOne(ctx, k.Space, addr)
}

// timekeeperAddr returns the address of the timekeeper. Before 6.13 it is in an anonymous struct,
// but shadow_timekeeper is a copy of it; from 6.13 on it is in a struct tk_data, and since 6.17 in
// the first of an array of them.
func (k *Kernel) timekeeperAddr(ctx context.Context) (uint64, error) {
	if addr, ok := k.Addr("shadow_timekeeper"); ok {
		return addr, nil
	}
	types, err := k.Types(ctx)
	if err != nil {
		return 0, err
	}
	f, err := types.Field("tk_data", "timekeeper")
	if err != nil {
		return 0, fmt.Errorf("this kernel's types: %w", err)
	}
	for _, name := range []string{"tk_core", "timekeeper_data"} {
		if addr, ok := k.Addr(name); ok {
			return addr + f.Offset, nil
		}
	}
	return 0, errors.New("the kernel has no symbol shadow_timekeeper, tk_core or timekeeper_data")
}
