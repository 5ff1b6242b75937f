package nettlp

import (
	"time"

	"physgdb/bridge"
)

const (
	// endings is how many ends of requests can be distinguished by completions: Lower Address and
	// Byte Count always add up to the end address of the request, of which Lower Address keeps
	// seven bits.
	endings = 1 << 7
	// lineSize is the smallest read completion boundary: completers cut only at its multiples (PCIe
	// base spec §2.3.1.1).
	lineSize = 64
	// looseCut is where libtlp's psmem cuts instead: every so many bytes from the first DW of a
	// request.
	looseCut = 256

	// lateLife is how long an answer can be in transit while others arrive in time. The longer it
	// is, the more late requests there are on a lossy path, and the shorter new requests must be
	// cut.
	lateLife = 3 * time.Second
	// maxLate is the limit for a stalled adapter: after a longer stall it has been restarted.
	maxLate = 30 * time.Second
	// awakeAfter is how long before an answer the adapter is known not to have been stalled.
	awakeAfter = 50 * time.Millisecond
)

// lateCompletions holds the requests that were not answered in full, or sent twice under one tag:
// their completions may still arrive. For each shape there is one request, or several with the same
// end address, which ask for the same bytes.
type lateCompletions struct {
	byShape map[shape]lateRequest
	count   []int // by tag
	queue   []sighting
	awake   time.Duration // how long the adapter is known not to have been stalled
	heard   time.Duration // when it last answered in time
}

// shape is the part of a request that its completions contain. Completions of requests of different
// shapes can be distinguished.
type shape struct {
	tag   uint8
	end   uint8 // its end, modulo endings
	alone uint8 // its length, if it is too short to be cut and does not begin where others are cut; else 0
}

// lateRequest is a request whose completions may still arrive.
type lateRequest struct {
	addr, end bridge.PhysAddr
	since     time.Duration // when the last such request was given up
}

// sighting records when a late request expires, unless it is sent again.
type sighting struct {
	shape
	since time.Duration
	awake time.Duration
}

func newLateCompletions(tags int) lateCompletions {
	return lateCompletions{byShape: map[shape]lateRequest{}, count: make([]int, tags)}
}

func shapeOf(tag uint8, addr bridge.PhysAddr, n int) shape {
	s := shape{tag: tag, end: uint8((addr + bridge.PhysAddr(n)) % endings)}
	if in := int(addr % lineSize); in > 0 && in+n <= lineSize {
		s.alone = uint8(n)
	}
	return s
}

// add adds a request that is given up now and that admits allowed. Of requests with the same end
// the last counts.
func (s *lateCompletions) add(tag uint8, addr bridge.PhysAddr, n int, now time.Duration) {
	sh := shapeOf(tag, addr, n)
	if _, ok := s.byShape[sh]; !ok {
		s.count[tag]++
	}
	s.byShape[sh] = lateRequest{addr, addr + bridge.PhysAddr(n), now}
	s.queue = append(s.queue, sighting{sh, now, s.awake})
}

// answered records that the adapter answered a request in time.
func (s *lateCompletions) answered(now time.Duration) {
	s.awake += min(now-s.heard, awakeAfter)
	s.heard = now
}

// starve records that late requests leave no tag free. An adapter that has just answered counts as
// not stalled.
func (s *lateCompletions) starve(now time.Duration) {
	if now-s.heard <= 2*awakeAfter {
		s.answered(now)
	}
}

// expire removes the requests whose time is over.
func (s *lateCompletions) expire(now time.Duration) {
	n := 0
	for ; n < len(s.queue); n++ {
		q := &s.queue[n]
		if now-q.since < maxLate && s.awake-q.awake < lateLife {
			break
		}
		if old, ok := s.byShape[q.shape]; ok && old.since == q.since {
			delete(s.byShape, q.shape)
			s.count[q.tag]--
		}
	}
	if n > 0 {
		s.queue = s.queue[:copy(s.queue, s.queue[n:])]
	}
}

// next returns the latest time at which the first of them expires, or never.
func (s *lateCompletions) next() time.Duration {
	if len(s.queue) == 0 {
		return never
	}
	return s.queue[0].since + maxLate
}

// suspect reports whether a tag has late requests.
func (s *lateCompletions) suspect(tag uint8) bool { return s.count[tag] > 0 }

// double reports whether there already is a late request of this shape with this end.
func (s *lateCompletions) double(tag uint8, addr bridge.PhysAddr, n int) bool {
	old, ok := s.byShape[shapeOf(tag, addr, n)]
	return ok && old.end == addr+bridge.PhysAddr(n)
}

// admits reports whether no late completion under tag could be mistaken for one of this request,
// unless it brings the same bytes.
func (s *lateCompletions) admits(tag uint8, addr bridge.PhysAddr, n int) bool {
	if !s.suspect(tag) {
		return true
	}
	sh, end := shapeOf(tag, addr, n), addr+bridge.PhysAddr(n)
	if old, ok := s.byShape[sh]; ok && old.end != end {
		return false
	}
	// The last piece of a loose cut may look like the answer to a short request.
	if sh.alone > 0 {
		long, ok := s.byShape[shape{tag, sh.end, 0}]
		return !ok || (long.end-bridge.PhysAddr(n)-long.addr&^3)%looseCut > 0
	}
	last := (end - addr&^3) % looseCut
	_, ok := s.byShape[shape{tag, sh.end, uint8(last)}]
	return last == 0 || !ok
}
