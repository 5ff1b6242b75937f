package mmu_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"physgdb/bridge"
	"physgdb/bridge/dump"
	"physgdb/mmu"
	"physgdb/test/memimage"
)

const (
	benchRAM  = 256 << 20 // bytes, of which the upper part is mapped
	benchVA   = 0xffff888000000000
	benchData = bridge.PhysAddr(8 << 20)
	benchSize = benchRAM - uint64(benchData)
)

// benchSpace is an address space in a mapped file, as physgdb opens it: 248 MiB in pages of 4 KiB
// that lie in random order, or in pages of 2 MiB.
func benchSpace(b *testing.B, levels, level int) (*mmu.Space, bridge.Viewer) {
	b.Helper()
	im := memimage.New(benchRAM)
	top := im.Page()
	page := uint64(4096) << (9 * (level - 1))
	order := rand.New(rand.NewPCG(1, 2)).Perm(int(benchSize / page))
	for i, j := range order {
		im.Map(top, levels, level, benchVA+uint64(i)*page, benchData+bridge.PhysAddr(uint64(j)*page), memimage.NX)
	}
	path := filepath.Join(b.TempDir(), "ram")
	if err := os.WriteFile(path, im.RAM, 0o600); err != nil {
		b.Fatal(err)
	}
	mem, err := dump.OpenFiles([]string{path}, "")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { mem.Close() })
	s, err := mmu.New(bridge.NewGuard(bridge.NewMeter(mem), nil), nil).Space(mmu.Root{CR3: uint64(top), Levels: levels})
	if err != nil {
		b.Fatal(err)
	}
	return s, mem.(bridge.Viewer)
}

// BenchmarkTranslate is wanted below 20 ns a translation. Addresses are random over 32 MiB, the
// size of a process, and over all, where the entries themselves fill a CPU's second-level cache.
func BenchmarkTranslate(b *testing.B) {
	for _, tc := range []struct {
		name   string
		levels int
		span   uint64
	}{
		{"span=32MiB/levels=4", 4, 32 << 20}, {"span=32MiB/levels=5", 5, 32 << 20},
		{"span=248MiB/levels=4", 4, benchSize}, {"span=248MiB/levels=5", 5, benchSize},
	} {
		b.Run("random/page=4KiB/"+tc.name, func(b *testing.B) {
			s, _ := benchSpace(b, tc.levels, 1)
			rng := rand.New(rand.NewPCG(3, 4))
			vas := make([]uint64, 1<<14)
			for i := range vas {
				vas[i] = benchVA + rng.Uint64N(tc.span)
				if _, err := s.Translate(ctx, vas[i]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := s.Translate(ctx, vas[i&(len(vas)-1)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLinearRead is wanted at 0.7 times the speed of memcpy or more: what=memcpy copies the
// same bytes from a mapping of the same file in the same order of pages.
func BenchmarkLinearRead(b *testing.B) {
	for _, tc := range []struct {
		name  string
		level int
	}{{"page=4KiB", 1}, {"page=2MiB", 2}} {
		s, file := benchSpace(b, 4, tc.level)
		buf := make([]byte, 1<<20)
		b.Run(tc.name+"/what=physgdb", func(b *testing.B) {
			b.SetBytes(int64(len(buf)))
			for i := uint64(0); b.Loop(); i++ {
				if _, err := s.ReadMemory(ctx, benchVA+i*uint64(len(buf))%(240<<20), buf); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(tc.name+"/what=memcpy", func(b *testing.B) {
			pages := physicalPages(b, s, file)
			b.SetBytes(int64(len(buf)))
			for i := 0; b.Loop(); i++ {
				first := i * len(buf) % (240 << 20) / len(pages[0])
				for at, p := 0, first; at < len(buf); p++ {
					at += copy(buf[at:], pages[p])
				}
			}
		})
	}
}

// physicalPages returns the bytes of every mapped page, in the order of addresses, of at most 1 MiB
// each.
func physicalPages(b *testing.B, s *mmu.Space, file bridge.Viewer) (pages [][]byte) {
	b.Helper()
	for mp, err := range s.Mappings(ctx, mmu.Upper) {
		if err != nil {
			b.Fatal(err)
		}
		for off := uint64(0); off < mp.Size; off += min(mp.Size, 1<<20) {
			data, ok := file.View(mp.PA+bridge.PhysAddr(off), int(min(mp.Size, 1<<20)))
			if !ok {
				b.Fatalf("%#x cannot be viewed", mp.VA)
			}
			pages = append(pages, data)
		}
	}
	return pages
}
