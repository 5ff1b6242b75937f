package nettlp

import (
	"slices"
	"time"
)

const (
	// restTimeouts is for how many timeouts a tag rests after a request on it was given up: its answer may be late, and
	// the next request's answer may look the same.
	restTimeouts = 10
	// restShare bounds that to a part of the time a request may take, so that tags do not run out for it.
	restShare = 4
	// maxRest is how long it rests when nothing shows that the adapter has come past that request: a stalled adapter
	// answers all it was asked when it wakes. Only those who use all tags have so many to spare.
	maxRest = 3 * time.Second
)

// tagPool hands out tags. Where stray completions cannot be told by their stamps, it is the tag that was used longest ago,
// so that they have the most time to run out; else it is the one used last, whose socket is still in the CPU's caches.
type tagPool struct {
	free    []uint8
	resting []restingTag
	answers time.Duration // when the latest request was sent that got an answer
}

// restingTag is a tag whose completions may still arrive.
type restingTag struct {
	tag   uint8
	since time.Duration
	least time.Duration // how long it rests at least
	most  time.Duration // and if no later request is answered
}

// rests returns how long a tag rests at least, and at most, after a request was given up.
func (o *Options) rests() (least, most time.Duration) {
	least = max(min(restTimeouts*o.Timeout, o.Budget/restShare), o.Timeout)
	if o.pool < MaxTags {
		return least, least
	}
	return least, max(least, maxRest)
}

func newTagPool(n int) tagPool {
	p := tagPool{free: make([]uint8, n, 2*n), resting: make([]restingTag, 0, n), answers: -1}
	for i := range p.free {
		p.free[i] = uint8(i)
	}
	return p
}

// take hands out a tag, unless all are in use or at rest: the one used last, or else longest ago.
func (p *tagPool) take(now time.Duration, last bool) (uint8, bool) {
	for i := 0; i < len(p.resting); {
		if r := &p.resting[i]; p.until(r) > now {
			i++
			continue
		}
		p.free = append(p.free, p.resting[i].tag)
		p.resting = slices.Delete(p.resting, i, i+1)
	}
	if len(p.free) == 0 {
		return 0, false
	}
	i := 0
	if last {
		i = len(p.free) - 1
	}
	tag := p.free[i]
	p.free = slices.Delete(p.free, i, i+1)
	return tag, true
}

// give takes back a tag whose request was answered in full.
func (p *tagPool) give(tag uint8) { p.free = append(p.free, tag) }

// rest takes back a tag whose completions may still arrive.
func (p *tagPool) rest(r restingTag) { p.resting = append(p.resting, r) }

// answered notes that a request was answered that had been sent then.
func (p *tagPool) answered(sent time.Duration) { p.answers = max(p.answers, sent) }

func (p *tagPool) until(r *restingTag) time.Duration {
	if p.answers > r.since {
		return r.since + r.least
	}
	return r.since + r.most
}

// next returns when the first tag at rest is free again, or never.
func (p *tagPool) next() time.Duration {
	first := never
	for i := range p.resting {
		first = min(first, p.until(&p.resting[i]))
	}
	return first
}
