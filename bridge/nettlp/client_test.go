package nettlp

import (
	"context"
	"math/rand/v2"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
)

func TestSourceURLs(t *testing.T) {
	for _, tc := range []struct {
		source string
		says   string // in the error; empty: it opens
	}{
		{"nettlp://127.77.0.1?local=127.77.0.0", ""},
		{"nettlp://127.77.0.1?local=127.77.0.0&requester=1b:00&tags=64&mrrs=256&timeout=5ms&retries=0&port=20000", ""},
		{"nettlp://127.77.0.1", "no local address: add local=IP"},
		{"nettlp:?local=127.0.0.1", "no adapter address"},
		{"nettlp://127.77.0.1?local=127.77.0.1", "each end needs its own"},
		{"nettlp://127.77.0.1?local=192.0.2.1", "192.0.2.1 is not one of this machine's"},
		{"nettlp://127.77.0.1?local=127.77.0.0&requester=1b", "not a PCIe ID"},
		{"nettlp://127.77.0.1?local=127.77.0.0&tags=257", "1 to 256"},
		{"nettlp://127.77.0.1?local=127.77.0.0&mrrs=500", "power of two"},
		{"nettlp://127.77.0.1?local=127.77.0.0&timeout=10s", "at most 3s"},
		{"nettlp://127.77.0.1?local=127.77.0.0&timeout=0s", "such as 500ms"},
		{"nettlp://127.77.0.1?local=127.77.0.0&retries=-1", "retries=-1"},
		{"nettlp://127.77.0.1?local=127.77.0.0&port=65530", "do not fit"},
		{"nettlp://127.77.0.1?local=127.77.0.0&tag=3", `unknown key "tag"`},
		{"nettlp://127.77.0.1:12288?local=127.77.0.0", "port=12288"},
		{"nettlp://127.77.0.1/x?local=127.77.0.0", "unexpected path"},
		{"nettlp://[::1]?local=127.77.0.0", "not IPv4"},
		{"nettlp://127.77.0.1?local=nosuchhost.invalid", "local address"},
	} {
		t.Run(tc.source, func(t *testing.T) {
			m, err := bridge.Open(context.Background(), tc.source, map[string]bridge.Opener{"nettlp": Open}, nil)
			if err == nil {
				if i := m.Info(); i.Name != tc.source || i.RAM.Known() {
					t.Errorf("info is %+v", i)
				}
				m.Close()
			}
			switch {
			case tc.says == "" && err != nil, tc.says != "" && err == nil:
				t.Errorf("error is %v, want %q", err, tc.says)
			case err != nil && (!strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "\n")):
				t.Errorf("error is %v, want one line saying %q", err, tc.says)
			}
		})
	}
}

func TestTakenPorts(t *testing.T) {
	local, remote := newPair()
	o := Options{Local: local, Remote: remote}
	dial(t, o)
	if _, err := New(&o); err == nil || !strings.Contains(err.Error(), "is taken") {
		t.Errorf("second client: %v", err)
	}
	if _, err := New(nil); err == nil {
		t.Error("a client without a valid source was made")
	}
}

func TestTries(t *testing.T) {
	for _, tc := range []struct {
		name    string
		o       Options
		retries int
		budget  time.Duration
	}{
		{"usual", Options{}, DefaultRetries, 40 * DefaultTimeout},
		{"none again", Options{Retries: -1}, 0, DefaultTimeout},
		{"a budget sets the tries", Options{Budget: time.Second}, 49, time.Second},
		{"a budget bounds the tries", Options{Budget: time.Second, Retries: 200}, 200, time.Second},
		{"a small budget", Options{Budget: time.Millisecond}, 0, time.Millisecond},
		{"few tries end before the budget", Options{Budget: time.Hour, Retries: 1}, 1, 2 * DefaultTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.o.Local, tc.o.Remote = newPair()
			got, err := tc.o.settle()
			if err != nil || got.Retries != tc.retries || got.Budget != tc.budget {
				t.Errorf("%d retries within %v, %v; want %d within %v", got.Retries, got.Budget, err, tc.retries, tc.budget)
			}
		})
	}
}

// Requests never cross 4 KiB, never exceed MRRS, and are as few as that allows.
func TestRequestsPerRead(t *testing.T) {
	for _, tc := range []struct {
		name          string
		addr, n, mrrs int
		want          uint64
	}{
		{"a page", 0x1000, 4096, 512, 8},
		{"a page in one", 0x1000, 4096, 4096, 1},
		{"across a page", 0x1ffe, 4, 512, 2},
		{"unaligned", 0x1001, 512, 512, 1},
		{"nothing", 0x1000, 0, 512, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ram := randomRAM(1 << 14)
			// Without retransmissions, however busy this machine is.
			c, a := pair(t, viewOf(ram), AdapterOptions{}, Options{MRRS: tc.mrrs, Timeout: 3 * time.Second})
			if err := readOne(t, c, ram, tc.addr, tc.n); err != nil {
				t.Fatal(err)
			}
			if got := c.Counts().Packets; got != tc.want {
				t.Errorf("%d packets, want %d", got, tc.want)
			}
			if s := a.Stats(); s.Requests != tc.want || s.Crossing+s.Malformed+s.OutsideRAM > 0 {
				t.Errorf("adapter saw %+v", s)
			}
		})
	}
}

// Random batches over bad links: always right, or an error; here always right, as the client is
// persistent.
func TestRandomBatchesOverBadLinks(t *testing.T) {
	ram := randomRAM(1 << 18)
	for name, l := range map[string]Link{
		"loss 1 %":               {Loss: 0.01},
		"loss 10 %":              {Loss: 0.1},
		"duplicates":             {Dup: 0.5},
		"disorder":               {Reorder: 0.5, Dup: 0.2},
		"late":                   {Delay: time.Millisecond, Reorder: 0.3},
		"later than the timeout": {Delay: 16 * time.Millisecond, Dup: 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wrongOver(t, ram, l, name != "later than the timeout")
		})
	}
}

func wrongOver(t *testing.T, ram []byte, l Link, mustSucceed bool) {
	c, a := pair(t, viewOf(ram), AdapterOptions{RCB: 64, MPS: 128, Link: l},
		Options{Timeout: 5 * time.Millisecond, Retries: 199})
	rng := rand.New(rand.NewPCG(l.Seed, 9))
	deadline := time.Now().Add(time.Second)
	for time.Now().Before(deadline) {
		ops := make([]bridge.Op, 1+rng.IntN(40))
		for i := range ops {
			n := 1 + rng.IntN(1500)
			ops[i] = bridge.Op{Addr: bridge.PhysAddr(rng.IntN(len(ram) - n)), Buf: make([]byte, n)}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		err := c.ReadPhys(ctx, ops)
		cancel()
		if err != nil {
			continue // it had no time
		}
		for i := range ops {
			op := &ops[i]
			good := op.Good()
			if string(op.Buf[:good]) != string(ram[op.Addr:int(op.Addr)+good]) {
				t.Fatalf("%d bytes at %#x are wrong", good, uint64(op.Addr))
			}
			if op.Err != nil && mustSucceed {
				t.Errorf("%v", op.Err)
			}
		}
	}
	t.Logf("client %+v, adapter %+v", c.Counts(), a.Stats())
}

func TestReadsDoNotAllocate(t *testing.T) {
	c, _ := pair(t, bridgetest.NewFake(make([]byte, 1<<20)), AdapterOptions{}, Options{})
	ops := make([]bridge.Op, 64)
	for i := range ops {
		ops[i] = bridge.Op{Addr: bridge.PhysAddr(i * 4096), Buf: make([]byte, 512)}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	allocs := testing.AllocsPerRun(20, func() {
		if err := c.ReadPhys(ctx, ops); err != nil || ops[0].Err != nil {
			t.Fatal(err, ops[0].Err)
		}
	})
	if allocs > 12 { // to watch the context; nothing per piece, at either end
		t.Errorf("%v allocations for a batch of 64", allocs)
	}
}

func TestNoDescriptorLeaks(t *testing.T) {
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(fds)
	}
	runtime.GC()
	before := count()
	for range 5 {
		o := Options{}
		o.Local, o.Remote = newPair()
		c, err := New(&o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(&o); err == nil {
			t.Fatal("the same ports were bound twice")
		}
		c.Close()
		c.Close()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors were open, now %d", before, after)
	}
}

func TestOpenWithoutOptions(t *testing.T) {
	local, remote := newPair()
	u := &url.URL{Scheme: "nettlp", Host: remote.String(), RawQuery: "local=" + local.String()}
	m, err := Open(context.Background(), u, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}
