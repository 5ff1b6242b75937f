package nettlp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
)

// addressRAM returns RAM in which every eight bytes hold their own address.
func addressRAM(n int) []byte {
	ram := make([]byte, n)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(ram[i:], uint64(i))
	}
	return ram
}

// somewhere returns a batch of reads of some of the kinds that a debugger makes.
func somewhere(rng *rand.Rand, room int) []bridge.Op {
	ops := make([]bridge.Op, 1+rng.IntN(40))
	for i := range ops {
		n := []int{8, 8, 64, 512, 4096, 1 + rng.IntN(1500)}[rng.IntN(6)]
		addr := rng.IntN(room-n) &^ (min(n&-n, 4096) - 1)
		ops[i] = bridge.Op{Addr: bridge.PhysAddr(addr), Buf: make([]byte, n)}
	}
	return ops
}

// checkOps wants every byte that counts as read right, and no errors but that answers came late.
// It returns how many of the ops are whole.
func checkOps(t *testing.T, ops []bridge.Op, ram []byte) (whole int) {
	t.Helper()
	for i := range ops {
		op := &ops[i]
		good := op.Good()
		if string(op.Buf[:good]) != string(ram[op.Addr:int(op.Addr)+good]) {
			t.Fatalf("%d bytes at %#x are wrong", good, uint64(op.Addr))
		}
		if op.Err != nil && !errors.Is(op.Err, bridge.ErrTimeout) && !errors.Is(op.Err, errStale) {
			t.Fatal(op.Err)
		}
		if op.Err == nil {
			whole++
		}
	}
	return whole
}

// sluggard is an adapter that puts some requests off, and answers them under the nose of a later
// one with their tag, in order or not, once or twice, all with the newest of stamps.
type sluggard struct {
	ram     []byte // beyond it, all is refused
	stamps  bool
	rng     *rand.Rand
	putOff  [MaxTags][]Request
	now     Stamp
	belated int
}

func (s *sluggard) answer(r Request) (out [][]byte) {
	old := s.putOff[r.Tag]
	if s.rng.IntN(5) == 0 {
		s.putOff[r.Tag] = append(old, r)
		return nil
	}
	for _, i := range s.rng.Perm(len(old)) {
		for range 1 + s.rng.IntN(2) {
			out = append(out, s.completions(old[i])...)
			s.belated++
		}
	}
	s.putOff[r.Tag] = old[:0]
	if s.rng.IntN(4) == 0 {
		s.putOff[r.Tag] = append(s.putOff[r.Tag], old...)
	}
	return append(out, s.completions(r)...)
}

func (s *sluggard) completions(r Request) (out [][]byte) {
	answers := []Completion{{Status: StatusUR, Requester: r.Requester, Tag: r.Tag, ByteCount: r.Len,
		Lower: uint8(r.Addr & 0x7f)}}
	if int(r.Addr)+r.Len <= len(s.ram) {
		answers = honest(r, s.ram, []int{128, 256, 4096}[s.rng.IntN(3)])
	}
	for _, c := range answers {
		if s.stamps {
			s.now.Sequence++
			s.now.Timestamp += 3
		}
		out = append(out, datagram(s.now, c))
	}
	return out
}

// Late answers to an earlier request with the same tag come just before the true one.
func TestAnswersToEarlierRequestsComeFirst(t *testing.T) {
	const size = 1 << 20
	for _, tc := range []struct {
		tags, mrrs, batches int
		stamps              bool
	}{
		{0, 512, 300, true},
		{0, 512, 300, false},
		{0, 4096, 300, true},
		{16, 512, 100, true},
		{1, 512, 5, true},
	} {
		t.Run(fmt.Sprintf("tags=%d,mrrs=%d,stamps=%v", tc.tags, tc.mrrs, tc.stamps), func(t *testing.T) {
			t.Parallel()
			s := sluggard{ram: addressRAM(size), stamps: tc.stamps, rng: rand.New(rand.NewPCG(1, 2))}
			c := dialPeer(t, Options{Tags: tc.tags, MRRS: tc.mrrs, Timeout: 2 * time.Millisecond, Retries: 99}, s.answer)
			rng := rand.New(rand.NewPCG(3, 4))
			reads, whole := 0, 0
			for range tc.batches {
				beyond := bridge.Op{Addr: bridge.PhysAddr(size + 4096*rng.IntN(8)), Buf: make([]byte, 512)}
				ops := append(somewhere(rng, size), beyond)
				if err := c.ReadPhys(context.Background(), ops); err != nil {
					t.Fatal(err)
				}
				ops = ops[:len(ops)-1]
				reads += len(ops)
				whole += checkOps(t, ops, s.ram)
			}
			c.Close()
			if tc.tags == 0 && whole < reads*9/10 {
				t.Errorf("only %d of %d reads succeeded", whole, reads)
			}
			t.Logf("%d of %d reads succeeded, %+v", whole, reads, c.Counts())
		})
	}
}

// halting is a memory that stalls now and then, and with it the adapter.
type halting struct {
	bridge.Viewer
	*bridgetest.Fake
	views atomic.Int32
	rng   *rand.Rand
}

func (h *halting) View(addr bridge.PhysAddr, n int) ([]byte, bool) {
	if h.views.Add(1)%300 == 0 {
		time.Sleep(time.Duration(20+h.rng.IntN(200)) * time.Millisecond)
	}
	return h.Viewer.View(addr, n)
}

func TestStallingAdapter(t *testing.T) {
	ram := addressRAM(1 << 18)
	for name, tc := range map[string]struct {
		link   Link
		client Options
	}{
		"often":                           {Link{}, Options{}},
		"often, with 16 tags":             {Link{}, Options{Tags: 16}},
		"often, with one tag":             {Link{}, Options{Tags: 1}},
		"often, on a line that loses":     {Link{Loss: 0.05}, Options{}},
		"often, on a line that reorders":  {Link{Reorder: 0.3}, Options{}},
		"often, on a line that does both": {Link{Loss: 0.05, Reorder: 0.3, Dup: 0.1}, Options{Timeout: 5e6}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := viewOf(ram).(viewed)
			mem := &halting{Viewer: v, Fake: v.Fake, rng: rand.New(rand.NewPCG(5, 6))}
			c, _ := pair(t, mem, AdapterOptions{Link: tc.link}, tc.client)
			rng := rand.New(rand.NewPCG(7, 8))
			reads, whole := 0, 0
			for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
				ops := somewhere(rng, len(ram))
				if err := c.ReadPhys(context.Background(), ops); err != nil {
					t.Fatal(err)
				}
				reads += len(ops)
				whole += checkOps(t, ops, ram)
			}
			if whole < reads/2 {
				t.Errorf("only %d of %d reads succeeded", whole, reads)
			}
			t.Logf("%d of %d reads succeeded, %+v", whole, reads, c.Counts())
		})
	}
}
