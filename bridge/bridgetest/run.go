// Package bridgetest holds what every bridge.Memory must do, as a test suite, and a fake memory for
// the tests of packages that read one.
package bridgetest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"physgdb/bridge"
)

const (
	ramSize  = 1 << 20
	patience = 10 * time.Second // for what must not hang
)

// Run puts a kind of memory to the test. Open must return one whose RAM is ram, from physical
// address 0 on, and nothing else; Run closes it, perhaps twice. It may lose and delay what it
// sends, but must not make the reader notice.
func Run(t *testing.T, open func(t *testing.T, ram []byte) bridge.Memory) {
	ram := make([]byte, ramSize)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range ram {
		ram[i] = byte(rng.Uint32())
	}
	for name, test := range map[string]func(*suite, *testing.T){
		"reads of every alignment are right":       (*suite).alignments,
		"pieces of no bytes are read":              (*suite).empty,
		"reads across pages are right":             (*suite).pages,
		"a big batch is right":                     (*suite).bigBatch,
		"a bad piece has a good prefix":            (*suite).badPieces,
		"an old error is cleared":                  (*suite).oldError,
		"the end of the address space is an error": (*suite).wrap,
		"a done context ends a read":               (*suite).cancel,
		"goroutines may share it":                  (*suite).concurrent,
		"reads end when it is closed":              (*suite).closeDuringReads,
	} {
		t.Run(name, func(t *testing.T) {
			m := open(t, ram)
			t.Cleanup(func() {
				if err := m.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test(&suite{m, ram}, t)
		})
	}
}

type suite struct {
	mem bridge.Memory
	ram []byte
}

// read reads ops; that the source is gone is an error. Goroutines of a test may call it.
func (s *suite) read(t *testing.T, ops []bridge.Op) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.mem.ReadPhys(ctx, ops); err != nil {
		t.Errorf("read: %v", err)
	}
}

// check wants every piece to be whole and right.
func (s *suite) check(t *testing.T, ops []bridge.Op) {
	t.Helper()
	for i := range ops {
		op := &ops[i]
		switch {
		case op.Err != nil:
			t.Errorf("%d bytes at %#x: %v", len(op.Buf), uint64(op.Addr), op.Err)
		case !bytes.Equal(op.Buf, s.ram[op.Addr:int(op.Addr)+len(op.Buf)]):
			t.Errorf("%d bytes at %#x are wrong", len(op.Buf), uint64(op.Addr))
		}
	}
}

func op(addr, n int) bridge.Op { return bridge.Op{Addr: bridge.PhysAddr(addr), Buf: make([]byte, n)} }

func (s *suite) alignments(t *testing.T) {
	var ops []bridge.Op
	for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 63, 64, 65, 127, 128, 511, 512, 513} {
		for off := range 9 {
			ops = append(ops, op(0x1000+off, n), op(0x2fc0-off, n))
		}
	}
	s.read(t, ops)
	s.check(t, ops)
}

func (s *suite) empty(t *testing.T) {
	s.read(t, nil)
	ops := []bridge.Op{op(0x1000, 0), op(0x1001, 3), op(0, 0)}
	s.read(t, ops)
	s.check(t, ops)
}

func (s *suite) pages(t *testing.T) {
	ops := []bridge.Op{op(0xffe, 4), op(0xfff, 2), op(0x1003, 3*bridge.PageSize), op(0, 8*bridge.PageSize),
		op(ramSize-1, 1), op(ramSize-bridge.PageSize, bridge.PageSize)}
	s.read(t, ops)
	s.check(t, ops)
}

func (s *suite) bigBatch(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	ops := make([]bridge.Op, 300)
	for i := range ops {
		n := 1 + rng.IntN(2*bridge.PageSize)
		ops[i] = op(rng.IntN(ramSize-n), n)
	}
	s.read(t, ops)
	s.check(t, ops)
}

func (s *suite) badPieces(t *testing.T) {
	ops := []bridge.Op{
		op(0x3000, 100),
		op(ramSize-bridge.PageSize, 2*bridge.PageSize), // a page of RAM, then none
		op(ramSize, 8),
		op(0x5001, 9000),
		op(ramSize+bridge.PageSize+5, 3*bridge.PageSize),
	}
	s.read(t, ops)
	good := []int{100, bridge.PageSize, 0, 9000, 0}
	for i := range ops {
		op := &ops[i]
		if op.Good() != good[i] {
			t.Errorf("%d bytes at %#x: %d are good, want %d (%v)",
				len(op.Buf), uint64(op.Addr), op.Good(), good[i], op.Err)
			continue
		}
		if !bytes.Equal(op.Buf[:good[i]], s.ram[min(int(op.Addr), ramSize):][:good[i]]) {
			t.Errorf("%d bytes at %#x are wrong", good[i], uint64(op.Addr))
		}
		var ae *bridge.AccessError
		if good[i] < len(op.Buf) && (!errors.As(op.Err, &ae) || ae.Len != len(op.Buf)-good[i]) {
			t.Errorf("%d bytes at %#x: error is %v, want an AccessError for the %d missing",
				len(op.Buf), uint64(op.Addr), op.Err, len(op.Buf)-good[i])
		}
	}
}

func (s *suite) oldError(t *testing.T) {
	ops := []bridge.Op{op(0x1000, 8), op(0x1000, 0)}
	ops[0].Err, ops[1].Err = bridge.ErrTimeout, bridge.ErrTimeout
	s.read(t, ops)
	s.check(t, ops)
}

func (s *suite) wrap(t *testing.T) {
	ops := []bridge.Op{{Addr: ^bridge.PhysAddr(0) - 3, Buf: make([]byte, 8)}}
	s.read(t, ops)
	if ops[0].Err == nil {
		t.Error("a read past the last address succeeded")
	}
}

func (s *suite) cancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.mem.ReadPhys(ctx, []bridge.Op{op(0, 8)}); !errors.Is(err, context.Canceled) {
		t.Errorf("read with a done context: %v, want %v", err, context.Canceled)
	}
	ops := []bridge.Op{op(64, 64)}
	s.read(t, ops)
	s.check(t, ops)
}

func (s *suite) concurrent(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 25 {
				ops := []bridge.Op{op(g*0x10000+i*512, 1024), op(g*0x10000+i, 7)}
				s.read(t, ops)
				s.check(t, ops)
			}
		})
	}
	wg.Wait()
}

// closeDuringReads closes while others read. Each read ends, right or with an error.
func (s *suite) closeDuringReads(t *testing.T) {
	var wg sync.WaitGroup
	started := make(chan struct{}, 4)
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				ops := []bridge.Op{op(i%256*64, 64)}
				if s.mem.ReadPhys(context.Background(), ops) != nil {
					return
				}
				s.check(t, ops)
				if i == 3 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 4 {
		<-started
	}
	ended := make(chan struct{})
	go func() {
		s.mem.Close()
		wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("reads still run after Close")
	}
}
