package linux

import (
	"strings"
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	const (
		real      = 1_700_000_000_250_000_000 // ns
		suspended = 3_000_000_000
		at        = uint64(base + 1<<20)
	)
	for _, tc := range []struct {
		name   string
		symbol string
		typ    string // that holds the timekeeper, if it is within another
		offset uint64
	}{
		{"the copy before 6.13", "shadow_timekeeper", "", 0},
		{"from 6.13 on", "tk_core", "tk_data", 64},
		{"from 6.17 on", "timekeeper_data", "tk_data", 128},
	} {
		w := newWorld(t, nil, map[string]uint64{tc.symbol: at})
		w.Structs.Define("timekeeper", "tkr_mono.shift", 4, "tkr_mono.xtime_nsec", "tkr_mono.base", "offs_real", "offs_boot")
		if tc.typ != "" {
			w.Structs.Define(tc.typ, "seq", int(tc.offset), "timekeeper", 40)
		}
		w.Put(at+tc.offset, 24, 500_000<<24|0xabcdef, 7_000_000_000, real, suspended)
		boot, err := w.BootTime(ctx)
		if err != nil || !boot.Equal(time.Unix(1_699_999_997, 250_000_000)) {
			t.Errorf("%s: booted at %v, %v", tc.name, boot, err)
		}
		if up, err := w.Uptime(ctx); err != nil || up != 10*time.Second+500*time.Microsecond {
			t.Errorf("%s: up for %v, %v", tc.name, up, err)
		}
	}
}

func TestClockWithoutSymbols(t *testing.T) {
	for name, w := range map[string]*world{
		"no symbol":   newWorld(t, nil, map[string]uint64{"other": base}),
		"no type":     newWorld(t, nil, map[string]uint64{"tk_core": base}),
		"no memory":   newWorld(t, nil, map[string]uint64{"shadow_timekeeper": 0x1000}),
		"no vmlinux":  newWorld(t, nil, nil),
		"other types": newWorld(t, nil, map[string]uint64{"shadow_timekeeper": base}),
	} {
		switch name {
		case "no symbol":
			w.Structs.Define("tk_data", "timekeeper")
		case "no memory":
			w.Structs.Define("timekeeper", "tkr_mono.shift", "tkr_mono.xtime_nsec", "tkr_mono.base", "offs_real", "offs_boot")
		}
		if boot, err := w.BootTime(ctx); err == nil || !strings.HasPrefix(err.Error(), "the kernel's boot time: ") {
			t.Errorf("%s: %v, %v", name, boot, err)
		}
		if up, err := w.Uptime(ctx); err == nil || !strings.HasPrefix(err.Error(), "the kernel's uptime: ") {
			t.Errorf("%s: %v, %v", name, up, err)
		}
	}
}
