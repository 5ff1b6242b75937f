package linux

import (
	"context"
	"fmt"
	"time"
)

// timekeeper is struct timekeeper (include/linux/timekeeper_internal.h).
type timekeeper struct {
	OffsReal uint64 `c:"offs_real"`           // from the monotonic clock to that on the wall, ns
	OffsBoot uint64 `c:"offs_boot"`           // how long the machine was suspended, ns
	Base     uint64 `c:"tkr_mono.base"`       // the monotonic clock at the last tick, ns…
	Fraction uint64 `c:"tkr_mono.xtime_nsec"` // …and what follows, shifted
	Shift    uint64 `c:"tkr_mono.shift"`
}

// BootTime returns when the kernel was started, by the machine's own clock on the wall as it stood when the machine died.
// Adding [LogRecord.Time] gives the time of a message to some tens of milliseconds, unless the machine was suspended in
// between.
func (k *Kernel) BootTime(ctx context.Context) (time.Time, error) {
	tk, err := k.timekeeper(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("the kernel's boot time: %w", err)
	}
	return time.Unix(0, int64(tk.OffsReal-tk.OffsBoot)), nil
}

// Uptime returns how long the machine had been up, suspends included, when its kernel last looked at the clock. That is
// the last timer tick: a kernel that has panicked still takes them until the machine is halted, so it is later than the
// panic. When that was is told by the log.
func (k *Kernel) Uptime(ctx context.Context) (time.Duration, error) {
	tk, err := k.timekeeper(ctx)
	if err != nil {
		return 0, fmt.Errorf("the kernel's uptime: %w", err)
	}
	monotonic := tk.Base + tk.Fraction>>(tk.Shift%64)
	return time.Duration(monotonic + tk.OffsBoot), nil
}

// timekeeper reads the kernel's own (kernel/time/timekeeping.c).
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

// timekeeperAddr finds it. Before 6.13 it lies in a struct without a name, but there is a copy of it under its own; then
// in a struct tk_data, and since 6.17 in the first of several.
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
	return 0, fmt.Errorf("the kernel has no symbol for it")
}
