package nettlp

import (
	"math/rand/v2"
	"testing"
	"time"

	"physgdb/bridge"
)

// marks is everything that distinguishes a completion of one request from those of others with its
// tag.
type marks struct{ count, lower int }

// possible returns the marks of every completion that could answer n bytes at addr, and which byte
// such a completion begins with. It may be cut at any multiple of 64 bytes, or, as psmem does it,
// every 256 bytes from its first DW.
func possible(addr bridge.PhysAddr, n int) map[marks]bridge.PhysAddr {
	all := map[marks]bridge.PhysAddr{}
	for at := addr; at < addr+bridge.PhysAddr(n); at++ {
		if at == addr || at%64 == 0 || (at-addr&^3)%256 == 0 {
			all[marks{int(addr) + n - int(at), int(at & 0x7f)}] = at
		}
	}
	return all
}

// Whatever was given up before, a tag is handed out only for a request whose completions look like
// those of no earlier one, or else bring the very same bytes.
func TestCompletionsOfTwoRequestsNeverLookAlike(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, tags := range []int{1, 3, 16} {
		p := newTagPool(tags)
		given := make([][]map[marks]bridge.PhysAddr, tags)
		taken, refused := 0, 0
		for range 60 * tags {
			addr := bridge.PhysAddr(rng.IntN(1<<16) &^ []int{0, 3, 511}[rng.IntN(3)])
			n := min([]int{1, 8, 512, 1 + rng.IntN(512)}[rng.IntN(4)], pageSize-int(addr%pageSize))
			tag, length, ok := p.take(0, rng.IntN(2) == 0, &piece{addr: addr, buf: make([]byte, n)})
			if !ok {
				refused++
				continue
			}
			if length < 1 || length > n {
				t.Fatalf("%d bytes were cut to %d", n, length)
			}
			taken++
			fresh := possible(addr, length)
			for _, old := range given[tag] {
				for m, at := range fresh {
					if where, ok := old[m]; ok && where != at {
						t.Fatalf("tag %d: completions of %d bytes at %#x look like earlier ones: %+v", tag, length, addr, m)
					}
				}
			}
			given[tag] = append(given[tag], fresh)
			p.add(tag, addr, length, 0)
			p.give(tag)
		}
		if taken < 30*tags || refused > taken {
			t.Errorf("%d tags: %d requests could be sent, %d could not", tags, taken, refused)
		}
	}
}

// Whole DWs are preferred.
func TestRequestsAreCutShortOnlyIfNeeded(t *testing.T) {
	type request struct {
		addr bridge.PhysAddr
		n    int
	}
	for _, tc := range []struct {
		name   string
		strays []request
		addr   bridge.PhysAddr
		n      int
		want   int // 0: it must wait
	}{
		{"none", nil, 0x1000, 512, 512},
		{"another end", []request{{0x2000, 64}}, 0x1000, 512, 512},
		{"the same end", []request{{0x1180, 128}}, 0x1000, 512, 512},
		{"an end that looks the same", []request{{0x2080, 128}}, 0x1000, 512, 448},
		{"two of them", []request{{0x2000, 128}, {0x2000, 64}}, 0x1000, 512, 504},
		{"short ones look like their kind alone", []request{{0x2000, 128}}, 0x1070, 16, 16},
		{"short ones of one kind", []request{{0x2070, 16}}, 0x1070, 16, 8},
		{"unless cut loosely", []request{{0x2070, 400}}, 0x10f0, 16, 16},
		{"cut loosely, it looks the same", []request{{0x2070, 272}}, 0x1070, 16, 8},
		{"one byte", []request{{0x2001, 1}}, 0x1001, 1, 0},
		{"half a DW is better than nothing", []request{{0x2004, 4}}, 0x1004, 4, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newTagPool(1)
			for _, s := range tc.strays {
				p.add(0, s.addr, s.n, 0)
			}
			_, n, ok := p.take(0, true, &piece{addr: tc.addr, buf: make([]byte, tc.n)})
			if n != tc.want || ok != (tc.want > 0) {
				t.Errorf("%d bytes, %v; want %d", n, ok, tc.want)
			}
		})
	}
}

// A stray is over when answers came for some seconds. While none do, it waits like the adapter, but
// not for ever.
func TestLateCompletionsExpire(t *testing.T) {
	const step = 10 * time.Millisecond
	live := func(ended func(now time.Duration) bool) (now time.Duration) {
		p := newTagPool(1)
		p.add(0, 0x2000, 8, 0)
		for ; p.suspect(0); now += step {
			if ended(now) {
				p.answered(now)
			}
			p.expire(now)
		}
		if p.lateCompletions.next() != never || len(p.queue) > 0 {
			t.Error("something is left of it")
		}
		return now
	}
	for _, tc := range []struct {
		name     string
		ended    func(now time.Duration) bool
		from, to time.Duration
	}{
		{"always answers", func(time.Duration) bool { return true }, lateLife, lateLife + 5*step},
		{"never answers", func(time.Duration) bool { return false }, maxLate, maxLate + 5*step},
		{"answers after ten seconds", func(now time.Duration) bool { return now >= 10*time.Second },
			10*time.Second + lateLife - awakeAfter, 10*time.Second + lateLife + 5*step},
		{"answers every second", func(now time.Duration) bool { return now%time.Second == 0 }, maxLate, maxLate + 5*step},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := live(tc.ended); got < tc.from || got > tc.to {
				t.Errorf("it lives for %v, want %v to %v", got, tc.from, tc.to)
			}
		})
	}
}

func TestLateRequestAskedAgainLivesLonger(t *testing.T) {
	p := newTagPool(1)
	p.add(0, 0x2000, 8, 0)
	p.add(0, 0x2000, 8, 0)
	p.add(0, 0x2000, 8, time.Second)
	p.add(0, 0x2000, 8, 2*time.Second)
	for _, tc := range []struct {
		now  time.Duration
		want bool
	}{{maxLate + time.Second, true}, {maxLate + 2*time.Second, false}} {
		if p.expire(tc.now); p.suspect(0) != tc.want {
			t.Errorf("at %v: suspect is %v", tc.now, p.suspect(0))
		}
	}
}
