package nettlp

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"physgdb/bridge"
)

// quick makes a test of silence short, and leaves time for an answer on a busy machine.
var quick = Options{Timeout: 20 * time.Millisecond, Retries: 9}

// Each script corrupts what an honest adapter would answer. Whatever it does, a read is right or
// fails as wanted.
func TestLyingAdapters(t *testing.T) {
	ram := randomRAM(1 << 16)
	each := func(change func(c *Completion)) func(Request) [][]byte {
		return func(r Request) (out [][]byte) {
			for _, c := range honest(r, ram, 128) {
				change(&c)
				out = append(out, datagram(Stamp{}, c))
			}
			return out
		}
	}
	wire := func(change func(d []byte) []byte) func(Request) [][]byte {
		return func(r Request) (out [][]byte) {
			for _, c := range honest(r, ram, 128) {
				out = append(out, change(datagram(Stamp{}, c)))
			}
			return out
		}
	}
	for _, tc := range []struct {
		name   string
		script func(Request) [][]byte
		want   error  // nil: the read is right
		says   string // in the error
	}{
		{"honest", each(func(*Completion) {}), nil, ""},
		{"longer datagrams than needed", wire(func(d []byte) []byte { return append(d, 1, 2, 3) }), nil, ""},
		{"a digest", wire(func(d []byte) []byte { d[8] |= 0x80; return append(d, 1, 2, 3, 4) }), nil, ""},
		{"pieces backwards", func(r Request) (out [][]byte) {
			for _, c := range honest(r, ram, 128) {
				out = append([][]byte{datagram(Stamp{}, c)}, out...)
			}
			return out
		}, nil, ""},
		{"everything thrice", func(r Request) (out [][]byte) {
			for _, c := range honest(r, ram, 128) {
				d := datagram(Stamp{}, c)
				out = append(out, d, d, d)
			}
			return out
		}, nil, ""},
		{"cut anywhere, as psmem does", func(r Request) (out [][]byte) {
			for dw, end := int(r.Addr)&^3, int(r.Addr)+r.Len; dw < end; dw += 100 {
				at := max(dw, int(r.Addr))
				out = append(out, datagram(Stamp{}, Completion{Requester: r.Requester, Tag: r.Tag, Data: true,
					ByteCount: end - at, Lower: uint8(at & 0x7f), Payload: ram[dw:min(dw+100, (end+3)&^3)]}))
			}
			return out
		}, nil, ""},
		{"garbage before the right answer", func(r Request) (out [][]byte) {
			out = [][]byte{{}, {1, 2, 3}, make([]byte, 18), []byte(strings.Repeat("x", 5000))}
			for _, c := range honest(r, ram, 512) {
				out = append(out, datagram(Stamp{}, c))
			}
			return out
		}, nil, ""},
		{"only the first piece of each request", func(r Request) [][]byte {
			return [][]byte{datagram(Stamp{}, honest(r, ram, 128)[0])}
		}, nil, ""}, // each retry gets further
		{"never the first piece", func(r Request) (out [][]byte) {
			for _, c := range honest(r, ram, 128)[1:] {
				out = append(out, datagram(Stamp{}, c))
			}
			return out
		}, bridge.ErrTimeout, "no answer"},
		{"silent", func(Request) [][]byte { return nil }, bridge.ErrTimeout, "requester 1b:00.0"},
		{"wrong tag", each(func(c *Completion) { c.Tag ^= 1 }), bridge.ErrMalformed, "another tag"},
		{"wrong requester", each(func(c *Completion) { c.Requester++ }), bridge.ErrMalformed, "requester"},
		{"lower address shifted", each(func(c *Completion) { c.Lower ^= 4 }), bridge.ErrMalformed, "address"},
		{"lower address off by a byte", each(func(c *Completion) { c.Lower ^= 1 }), bridge.ErrMalformed, "address"},
		{"byte count too small", each(func(c *Completion) { c.ByteCount -= 4 }), bridge.ErrMalformed, "address"},
		{"byte count too large", each(func(c *Completion) { c.ByteCount += 64 }), bridge.ErrMalformed, ""},
		{"too much data", each(func(c *Completion) { c.Payload = ram[:640] }), bridge.ErrMalformed, "longer"},
		{"truncated", wire(func(d []byte) []byte { return d[:len(d)-1] }), bridge.ErrMalformed, "bytes of data"},
		{"headers only", wire(func(d []byte) []byte { return d[:stampSize+4] }), bridge.ErrMalformed, "header"},
		{"requests echoed", func(r Request) [][]byte { return [][]byte{r.AppendMRd(Stamp{}.AppendTo(nil))} },
			bridge.ErrMalformed, "no completion"},
		{"success without data", each(func(c *Completion) { c.Data, c.Payload = false, nil }),
			bridge.ErrMalformed, "without data"},
		{"poisoned", each(func(c *Completion) { c.Poisoned = true }), bridge.ErrRefused, "poisoned"},
		{"UR", each(func(c *Completion) { c.Status, c.Data, c.Payload = StatusUR, false, nil }),
			bridge.ErrRefused, "unsupported request (UR)"},
		{"CA", each(func(c *Completion) { c.Status, c.Data, c.Payload = StatusCA, false, nil }),
			bridge.ErrRefused, "completer abort (CA)"},
		{"CRS for ever", each(func(c *Completion) { c.Status, c.Data, c.Payload = StatusCRS, false, nil }),
			bridge.ErrRefused, "retry (CRS)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := dialPeer(t, quick, tc.script)
			err := readOne(t, c, ram, 0x1000, 2048)
			if !errors.Is(err, tc.want) || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("aligned read: %v, want %v saying %q", err, tc.want, tc.says)
			}
			readOne(t, c, ram, 0x2fe3, 301)
		})
	}
}

func TestCRSIsTriedAgain(t *testing.T) {
	ram := randomRAM(1 << 12)
	var asked atomic.Int32
	c := dialPeer(t, quick, func(r Request) [][]byte {
		if asked.Add(1) < 3 {
			return [][]byte{datagram(Stamp{}, Completion{Status: StatusCRS, Requester: r.Requester, Tag: r.Tag})}
		}
		return [][]byte{datagram(Stamp{}, honest(r, ram, 256)[0])}
	})
	if err := readOne(t, c, ram, 0, 64); err != nil {
		t.Error(err)
	}
	if got := c.Counts(); got.Packets != 3 || got.Retries != 2 {
		t.Errorf("counts %+v, want 3 packets, 2 of them retries", got)
	}
}

// A refusal after the first completions of a request leaves what came before it good.
func TestRefusalMidway(t *testing.T) {
	ram := randomRAM(1 << 13)
	c := dialPeer(t, quick, func(r Request) (out [][]byte) {
		for _, c := range honest(r, ram, 128) {
			if int(r.Addr)+r.Len-c.ByteCount >= 0x380 {
				c.Status, c.Data, c.Payload = StatusUR, false, nil
			}
			out = append(out, datagram(Stamp{}, c))
		}
		return out
	})
	ops := []bridge.Op{{Addr: 0x100, Buf: make([]byte, 0x800)}}
	if err := c.ReadPhys(context.Background(), ops); err != nil {
		t.Fatal(err)
	}
	if ops[0].Good() != 0x280 || string(ops[0].Buf[:0x280]) != string(ram[0x100:0x380]) {
		t.Errorf("%#x bytes are good (%v), want 0x280", ops[0].Good(), ops[0].Err)
	}
}

// With one tag, a duplicate of the last answer arrives on the tag of the next request, before its
// own answer: the same count, the same lower address, other data. Its stamp gives it away.
func TestStaleDuplicateOnReusedTag(t *testing.T) {
	ram := randomRAM(1 << 16)
	var last []byte
	now := Stamp{0xfff0, 1<<32 - 50} // both wrap during the test
	o := quick
	o.Tags = 1
	c := dialPeer(t, o, func(r Request) (out [][]byte) {
		if last != nil {
			out = append(out, last)
		}
		now.Sequence++
		now.Timestamp += 3
		last = datagram(now, honest(r, ram, 512)[0])
		return append(out, last)
	})
	for addr := 0; addr < len(ram); addr += 512 {
		if err := readOne(t, c, ram, addr, 512); err != nil {
			t.Fatalf("at %#x: %v", addr, err)
		}
	}
	if got := c.Counts(); got.Retries != 0 {
		t.Errorf("%d retries: fresh answers were dropped", got.Retries)
	}
}

// Without stamps, what already lies in the socket of a tag is thrown away before the tag is used
// again.
func TestDuplicatesAreDrainedWithoutStamps(t *testing.T) {
	ram := randomRAM(1 << 14)
	o := quick
	o.Tags = 1
	c := dialPeer(t, o, func(r Request) [][]byte {
		d := datagram(Stamp{}, honest(r, ram, 512)[0])
		return [][]byte{d, d}
	})
	for addr := 0; addr < len(ram); addr += 512 {
		if err := readOne(t, c, ram, addr, 512); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // the duplicate arrives, on a busy machine too
	}
}

// An adapter whose clock is set back looks stale, until one read has failed because of it.
func TestAdapterRestart(t *testing.T) {
	ram := randomRAM(1 << 12)
	var ticks atomic.Uint32
	ticks.Store(1 << 30)
	c := dialPeer(t, quick, func(r Request) [][]byte {
		return [][]byte{datagram(Stamp{1, ticks.Add(1)}, honest(r, ram, 256)[0])}
	})
	if err := readOne(t, c, ram, 0, 64); err != nil {
		t.Fatal(err)
	}
	ticks.Store(0)
	if err := readOne(t, c, ram, 0, 64); !errors.Is(err, bridge.ErrMalformed) {
		t.Errorf("clock set back: %v", err)
	}
	if err := readOne(t, c, ram, 0, 64); err != nil {
		t.Errorf("after that: %v", err)
	}
}

func TestStampsAreForgottenBeforeTheyWrap(t *testing.T) {
	var r reference
	r.note(Stamp{}, 0)
	if r.known {
		t.Error("a zero stamp was taken for one")
	}
	r.note(Stamp{1, 100}, time.Second)
	r.note(Stamp{1, 50}, 2*time.Second)
	if r.stamp.Timestamp != 100 || r.fresh(Stamp{1, 99}) || !r.fresh(Stamp{2, 100}) {
		t.Errorf("reference is %+v", r)
	}
	if r.expire(time.Second + stampLife); !r.known {
		t.Error("forgotten too early")
	}
	if r.expire(time.Second + stampLife + 1); r.known {
		t.Error("not forgotten")
	}
}

func TestNothingListens(t *testing.T) {
	o := quick
	o.Requester = testID
	o.Local, o.Remote = newPair()
	c := dial(t, o)
	ops := make([]bridge.Op, 300)
	for i := range ops {
		ops[i] = bridge.Op{Addr: bridge.PhysAddr(i * 4096), Buf: make([]byte, 4096)}
	}
	start := time.Now()
	if err := c.ReadPhys(context.Background(), ops); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("it took %v to find out", d)
	}
	for i := range ops {
		err := ops[i].Err
		if !errors.Is(err, bridge.ErrTimeout) || !errors.Is(err, unix.ECONNREFUSED) || ops[i].Good() != 0 {
			t.Fatalf("piece %d: %v", i, err)
		}
	}
	if !strings.Contains(ops[0].Err.Error(), "nothing listens at "+o.Remote.String()) {
		t.Errorf("error is %v", ops[0].Err)
	}
}

// An emulator may bind fewer ports than the client has tags, and an adapter may come up late.
func TestPortsThatAreNotThere(t *testing.T) {
	ram := randomRAM(1 << 14)
	answer := func(r Request) [][]byte { return [][]byte{datagram(Stamp{}, honest(r, ram, 512)[0])} }
	t.Run("few ports", func(t *testing.T) {
		o := Options{Tags: 64, Requester: testID}
		o.Local, o.Remote = newPair()
		newPeer(t, o.Remote, 16, answer)
		if err := readOne(t, dial(t, o), ram, 0, len(ram)); err != nil {
			t.Error(err)
		}
	})
	t.Run("late", func(t *testing.T) {
		o := Options{Requester: testID}
		o.Local, o.Remote = newPair()
		c := dial(t, o)
		failed := make(chan error)
		go func() { failed <- readOne(t, c, ram, 0, len(ram)) }()
		time.Sleep(50 * time.Millisecond)
		newPeer(t, o.Remote, 16, answer)
		if err := <-failed; err != nil {
			t.Error(err)
		}
	})
}

// A whole batch gets its errors in the time one request may take, not in as many as it has
// requests.
func TestSilenceEndsABatch(t *testing.T) {
	c := dialPeer(t, quick, func(Request) [][]byte { return nil })
	ops := make([]bridge.Op, 500)
	for i := range ops {
		ops[i] = bridge.Op{Addr: bridge.PhysAddr(i * 4096), Buf: make([]byte, 4096)}
	}
	start := time.Now()
	if err := c.ReadPhys(context.Background(), ops); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("it took %v", d)
	}
	for i := range ops {
		if !errors.Is(ops[i].Err, bridge.ErrTimeout) {
			t.Fatalf("piece %d: %v", i, ops[i].Err)
		}
	}
}

// An adapter that stays silent leaves strays under all tags, and more are sent. Reads still end in
// time, and no two requests with one tag have completions that look alike but come from different
// addresses.
func TestSilenceThatUsesUpAllTags(t *testing.T) {
	var asked [MaxTags]map[marks]bridge.PhysAddr
	c := dialPeer(t, quick, func(r Request) [][]byte {
		if asked[r.Tag] == nil {
			asked[r.Tag] = map[marks]bridge.PhysAddr{}
		}
		for m, at := range possible(r.Addr, r.Len) {
			if old, ok := asked[r.Tag][m]; ok && old != at {
				t.Errorf("tag %d: %d bytes at %#x look like those at %#x", r.Tag, m.count, uint64(at), uint64(old))
			}
			asked[r.Tag][m] = at
		}
		return nil
	})
	for k := range 8 {
		ops := make([]bridge.Op, 100)
		for i := range ops {
			ops[i] = bridge.Op{Addr: bridge.PhysAddr((100*k + i) * 4096), Buf: make([]byte, 512)}
		}
		start := time.Now()
		if err := c.ReadPhys(context.Background(), ops); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > time.Second || !errors.Is(ops[99].Err, bridge.ErrTimeout) {
			t.Errorf("it took %v, %v", d, ops[99].Err)
		}
	}
	if got := c.Counts().Packets; got <= 2*MaxTags {
		t.Errorf("%d requests: not all tags were used twice", got)
	}
}

func TestWaitsCanBeInterrupted(t *testing.T) {
	stuck := func(t *testing.T) *Client {
		return dialPeer(t, Options{Timeout: 3 * time.Second}, func(Request) [][]byte { return nil })
	}
	ops := func() []bridge.Op { return []bridge.Op{{Buf: make([]byte, 8)}} }
	prompt := func(t *testing.T, start time.Time) {
		if d := time.Since(start); d > time.Second {
			t.Errorf("it took %v", d)
		}
	}
	t.Run("by the context", func(t *testing.T) {
		c := stuck(t)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		defer prompt(t, time.Now())
		if err := c.ReadPhys(ctx, ops()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
	})
	t.Run("by the context, waiting for the turn", func(t *testing.T) {
		c := stuck(t)
		go c.ReadPhys(context.Background(), ops())
		time.Sleep(10 * time.Millisecond)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		defer prompt(t, time.Now())
		if err := c.ReadPhys(ctx, ops()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
	})
	t.Run("by Close", func(t *testing.T) {
		c := stuck(t)
		defer prompt(t, time.Now())
		time.AfterFunc(20*time.Millisecond, func() { c.Close() })
		for range 2 {
			if err := c.ReadPhys(context.Background(), ops()); !errors.Is(err, net.ErrClosed) {
				t.Errorf("read: %v", err)
			}
		}
	})
}

// What an interrupted read asked for may still arrive; it must not be taken for the answer to the
// next.
func TestLateAnswersToAnInterruptedRead(t *testing.T) {
	ram := randomRAM(1 << 16)
	mem := viewOf(ram)
	c, _ := pair(t, mem, AdapterOptions{Link: Link{Delay: 2 * time.Millisecond}}, Options{})
	for i := range 100 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%5)*time.Millisecond)
		buf := make([]byte, 512)
		good, err := bridge.Read(ctx, c, bridge.PhysAddr(i*512), buf, false)
		cancel()
		if err == nil && string(buf[:good]) != string(ram[i*512:][:512]) {
			t.Fatalf("read %d is wrong", i)
		}
	}
}

// An adapter that hangs for a while answers everything it was asked when it goes on, newest stamps
// and all.
func TestStalledAdapter(t *testing.T) {
	ram := randomRAM(1 << 16)
	var asked atomic.Int32
	now := Stamp{}
	c := dialPeer(t, Options{Timeout: 2 * time.Millisecond, Retries: 99}, func(r Request) [][]byte {
		if asked.Add(1) == 20 {
			time.Sleep(100 * time.Millisecond)
		}
		now.Timestamp += 7
		return [][]byte{datagram(now, honest(r, ram, 512)[0])}
	})
	failed := 0
	for addr := 0; addr < len(ram); addr += 4096 {
		if readOne(t, c, ram, addr, 4096) != nil {
			failed++
		}
	}
	if failed > 0 { // the budget, 200 ms, is more than the stall, though the tags do not last for it
		t.Errorf("%d of %d reads failed", failed, len(ram)/4096)
	}
}
