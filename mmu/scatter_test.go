package mmu_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"physgdb/bridge"
	"physgdb/mmu"
	"physgdb/test/memimage"
)

// TestReadAllIsManyReads reads many pieces at once, good ones and bad, and each by itself.
func TestReadAllIsManyReads(t *testing.T) {
	pieces := []struct {
		va uint64
		n  int
	}{
		{0x400ff0, 8}, {0x400ffc, 8}, {0x400ff0, 0x1020}, {0x402ff8, 16}, {0x403000, 4}, {0x500000, 4}, {0x1234567, 1},
		{0xffffffffffffff00, 0x200}, {0x8000000000000000, 8}, {0x403000, 0}, {0x400ff0, 8},
	}
	for _, viewed := range []bool{false, true} {
		t.Run(fmt.Sprintf("viewed %v", viewed), func(t *testing.T) {
			w := newWorld(4)
			for i, pa := range []bridge.PhysAddr{0x8000, 0x3000, 0x4000} {
				w.mapPage(1, 0x400000+uint64(i)*4096, pa, 0)
				for k := range 4096 {
					w.RAM[int(pa)+k] = byte(k * (i + 3))
				}
			}
			w.mapPage(1, 0xfffffffffffff000, 0x8000, 0)
			w.mapPage(1, 0x500000, 0xfec00000, memimage.PCD)
			var mem bridge.Memory = w.fake
			if viewed {
				mem = &viewer{w.fake, w.RAM}
			}
			s, err := mmu.New(mem, nil).Space(mmu.Root{CR3: uint64(w.top), Levels: 4})
			if err != nil {
				t.Fatal(err)
			}
			ops := make([]mmu.Op, len(pieces))
			for i, p := range pieces {
				ops[i] = mmu.Op{VA: p.va, Buf: make([]byte, p.n)}
			}
			if err := s.ReadAll(ctx, ops); err != nil {
				t.Fatal(err)
			}
			for i, p := range pieces {
				want := make([]byte, p.n)
				n, err := s.ReadMemory(ctx, p.va, want)
				if ops[i].N != n || string(ops[i].Buf[:n]) != string(want[:n]) {
					t.Errorf("%#x: %d bytes %x, alone %d bytes %x", p.va, ops[i].N, ops[i].Buf, n, want)
				}
				if fmt.Sprint(ops[i].Err) != fmt.Sprint(err) {
					t.Errorf("%#x: %v, alone: %v", p.va, ops[i].Err, err)
				}
			}
		})
	}
}

func TestReadAllCostsOneReadALevel(t *testing.T) {
	w := newWorld(4)
	var ops []mmu.Op
	for i := range uint64(20) {
		va := 0x400000 + i<<30 // each in a PD of its own
		w.mapPage(1, va, 0x8000, 0)
		ops = append(ops, mmu.Op{VA: va, Buf: make([]byte, 8)})
	}
	s := w.space(t, nil)
	before := w.fake.Counts()
	if err := s.ReadAll(ctx, ops); err != nil {
		t.Fatal(err)
	}
	if c := w.fake.Counts(); c.Batches-before.Batches != 5 {
		t.Errorf("%d batches; want one for each of 4 levels and one for the data", c.Batches-before.Batches)
	}
}

func TestReadAllEndsWithItsContext(t *testing.T) {
	w := newWorld(4)
	everyPage(w)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for _, mem := range []bridge.Memory{w.fake, &viewer{w.fake, w.RAM}} {
		s, err := mmu.New(mem, nil).Space(mmu.Root{CR3: uint64(w.top), Levels: 4})
		if err != nil {
			t.Fatal(err)
		}
		ops := []mmu.Op{{VA: 0x400000, Buf: make([]byte, 8)}}
		if err := s.ReadAll(cancelled, ops); !errors.Is(err, context.Canceled) {
			t.Errorf("%T: %v, want %v", mem, err, context.Canceled)
		}
	}
}
