package nettlp

import (
	"slices"
	"time"

	"physgdb/bridge"
)

// tagPool hands out tags, those without late requests first. If late completions cannot be
// recognised by their stamps, take returns the tag used longest ago, which gives them the most time
// to arrive; otherwise the one used last, whose socket is still in the CPU's caches.
type tagPool struct {
	lateCompletions
	free    []uint8
	resting []restingTag
	turn    int // where fit cuts next
}

// restingTag is a tag that is not to be used for a while.
type restingTag struct {
	tag   uint8
	until time.Duration
}

func newTagPool(n int) tagPool {
	p := tagPool{lateCompletions: newLateCompletions(n), free: make([]uint8, n, 2*n), resting: make([]restingTag, 0, n)}
	for i := range p.free {
		p.free[i] = uint8(i)
	}
	return p
}

// take hands out a tag for a piece, unless there is none; last says in which order. No more of the
// piece may be asked for under it than the length that comes with it.
func (p *tagPool) take(now time.Duration, last bool, w *piece) (tag uint8, length int, ok bool) {
	p.wake(now)
	p.expire(now)
	length = len(w.buf)
	i, ok := p.same(w)
	if !ok {
		i, ok = p.clean(last)
	}
	if !ok {
		i, length, ok = p.fit(w.addr, length)
	}
	if !ok {
		return 0, 0, false
	}
	tag = p.free[i]
	p.free = slices.Delete(p.free, i, i+1)
	return tag, length, true
}

// same returns the index of the tag that a piece had the last time. Every other try goes there: it
// adds no late request to those that there are, but if that tag does not work, others must be
// tried.
func (p *tagPool) same(w *piece) (int, bool) {
	if w.tries%2 == 0 || !p.double(w.tag, w.addr, len(w.buf)) {
		return 0, false
	}
	i := slices.Index(p.free, w.tag)
	return i, i >= 0
}

// wake frees the tags that have rested.
func (p *tagPool) wake(now time.Duration) {
	for i := 0; i < len(p.resting); {
		if p.resting[i].until > now {
			i++
			continue
		}
		p.free = append(p.free, p.resting[i].tag)
		p.resting = slices.Delete(p.resting, i, i+1)
	}
}

// clean returns the index of the first, or last, free tag that has no late requests.
func (p *tagPool) clean(last bool) (int, bool) {
	for i := range p.free {
		if last {
			i = len(p.free) - 1 - i
		}
		if !p.suspect(p.free[i]) {
			return i, true
		}
	}
	return 0, false
}

// fit returns the index of a free tag for n bytes at addr, or for as many of them as make a request
// for which no late completion of its tag can be mistaken. A line less is best, as completers need
// no more completions for what follows; else where it cuts varies, so that what is left of pieces
// varies too.
func (p *tagPool) fit(addr bridge.PhysAddr, n int) (i, length int, ok bool) {
	for _, length := range [...]int{n, n - lineSize} {
		if i, ok = p.admit(addr, length); ok {
			return i, length, true
		}
	}
	p.turn++
	for k := range lineSize/4 - 1 {
		length = wholeDWs(addr, n-4*((p.turn+k)%(lineSize/4-1)))
		if i, ok = p.admit(addr, length); ok {
			return i, length, true
		}
	}
	for length = n - 1; length > max(n-endings, 0); length-- {
		if i, ok = p.admit(addr, length); ok {
			return i, length, true
		}
	}
	return 0, 0, false
}

// wholeDWs cuts n bytes at addr down by one to four, so that they end with a DW.
func wholeDWs(addr bridge.PhysAddr, n int) int { return int((addr+bridge.PhysAddr(n)-1)&^3 - addr) }

// admit returns the index of the free tag used longest ago that admits n bytes at addr.
func (p *tagPool) admit(addr bridge.PhysAddr, n int) (int, bool) {
	for i, tag := range p.free {
		if n > 0 && p.admits(tag, addr, n) {
			return i, true
		}
	}
	return 0, false
}

// give takes back a tag.
func (p *tagPool) give(tag uint8) { p.free = append(p.free, tag) }

// rest takes back a tag that is not to be used for a while.
func (p *tagPool) rest(tag uint8, until time.Duration) {
	p.resting = append(p.resting, restingTag{tag, until})
}

// next returns when there may be a tag again at the latest, or never.
func (p *tagPool) next() time.Duration {
	first := p.lateCompletions.next()
	for i := range p.resting {
		first = min(first, p.resting[i].until)
	}
	return first
}
