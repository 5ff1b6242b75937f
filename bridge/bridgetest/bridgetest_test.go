package bridgetest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
)

func TestFakePassesTheSuite(t *testing.T) {
	bridgetest.Run(t, func(t *testing.T, ram []byte) bridge.Memory { return bridgetest.NewFake(ram) })
}

func TestFakeInParts(t *testing.T) {
	f := bridgetest.NewFake(nil)
	f.Place(0x1000, []byte("abcd"))
	f.Place(0x1004, []byte("efgh"))
	f.Place(0x100000, []byte("far"))
	f.Fail(0x1006, 1, bridge.ErrRefused)
	for _, tc := range []struct {
		name string
		addr bridge.PhysAddr
		n    int
		want string
		err  error
	}{
		{"within a part", 0x1001, 2, "bc", nil},
		{"across parts that touch", 0x1003, 2, "de", nil},
		{"up to a fault", 0x1002, 6, "cdef", bridge.ErrRefused},
		{"past a fault", 0x1007, 1, "h", nil},
		{"past a part", 0x100001, 4, "ar", bridge.ErrNotRAM},
		{"nowhere", 0x2000, 4, "", bridge.ErrNotRAM},
	} {
		t.Run(tc.name, func(t *testing.T) {
			buf := make([]byte, tc.n)
			n, err := bridge.Read(context.Background(), f, tc.addr, buf, false)
			if string(buf[:n]) != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("got %q, %v; want %q, %v", buf[:n], err, tc.want, tc.err)
			}
		})
	}
	if c := f.Counts(); c.Batches != 6 || c.Reads != 6 || c.Bytes != 19 {
		t.Errorf("counts %+v", c)
	}
	if got := f.Info().RAM.String(); got != "0x1000-0x1007, 0x100000-0x100002" {
		t.Errorf("RAM map %s", got)
	}
}

func TestFakeIsSlow(t *testing.T) {
	f := bridgetest.NewFake(make([]byte, 8))
	f.Delay = time.Hour
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := bridge.Read(ctx, f, 0, make([]byte, 1), false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}
